"""What programs say of themselves: the datagram, who may speak of whom, and what becomes of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.daemon_samples import MS, NOW_NS, SECOND_NS, event

import whence
from whence import light
from whenced.job_desk import RATE, WAIT_NS, JobDesk
from whenced.job_socket import Heard, JobSocket
from whenced.job_words import Unclear, parse
from whenced.processes import Processes
from whenced.record import Kind
from whenced.rows import MetricRow, ProcessKey, Row, TagRow

SHELL, JOB = 500, 501
ADA, EVE = 1000, 1001


class Known:
    """Names of a host without any."""

    def user(self, uid: int) -> str | None:
        """Name of ada alone."""
        return {ADA: "ada"}.get(uid)

    def cgroup(self, cgroup_id: int) -> str | None:
        """None known."""
        return None

    def environment(self, tgid: int) -> bytes:
        """None known."""
        return b""

    def arguments(self, tgid: int) -> tuple[bytes, ...]:
        """None known."""
        return ()


class Ear:
    """Datagrams that the test puts down, and answers that it reads."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.answers: list[dict[str, Any]] = []

    def fileno(self) -> int:
        """Never polled."""
        return -1

    def receive(self, most: int) -> Iterable[Heard]:
        """Give what was put down."""
        taken, self.heard = self.heard[:most], self.heard[most:]
        return taken

    def answer(self, address: bytes | str, text: str) -> None:
        """Keep an answer."""
        self.answers.append(json.loads(text))


class Host:
    """A shell and its job, and a desk that hears them."""

    def __init__(self) -> None:
        self.processes = Processes(Known())
        self.ear = Ear()
        self.desk = JobDesk(self.ear, self.processes)

    def fork(self, tgid: int, parent: int = 0, uid: int = ADA, pid_ns: int = 1) -> None:
        """Fork a process."""
        start_ns = tgid * MS
        self.processes.on_fork(
            event(
                Kind.FORK,
                tgid=tgid,
                start_ns=start_ns,
                uid=uid,
                pid_ns=pid_ns,
                other_tgid=parent,
                other_start_ns=parent * MS,
                other_exec_id=1,
            )
        )

    def say(self, pid: int, text: bytes, uid: int = ADA, now_ns: int = NOW_NS) -> list[Row]:
        """Say something and return the rows that come of it."""
        self.ear.heard.append(Heard(pid, uid, text, b"\0addr"))
        self.desk.take(now_ns)
        return list(self.desk.take_rows())


@pytest.fixture
def host() -> Host:
    host = Host()
    host.fork(SHELL)
    host.fork(JOB, SHELL)
    return host


def key(tgid: int) -> ProcessKey:
    return ProcessKey(tgid, tgid * MS, 0)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"2\0tag\0self\0\0\0a\0b",
        b"1\0shout\0self\0\0\0a\0b",
        b"1\0tag\0other\0\0\0a\0b",
        b"1\0tag\0self\0loud\0\0a\0b",
        b"1\0tag\0self\0\0x\0a\0b",
        b"1\0tag\0self\0\0\0a",
        b"1\0tag\0self\0\0\0no key\0b",
        b"1\0tag\0self\0\0\0" + b"k" * 65 + b"\0b",
        b"1\0tag\0self\0\0\0a\0" + b"v" * 2001,
        b"1\0tag\0self\0\0\0" + b"\0".join([b"a\0b"] * 65),
        os.urandom(200),
    ],
)
def test_garbage_is_refused_in_a_sentence(text: bytes) -> None:
    with pytest.raises(Unclear):
        parse(text)


def test_what_the_client_writes_is_what_the_daemon_reads() -> None:
    text = light.message("metric", [("loss", "0.5"), ("a/b", "nan")], flags="", step="-3")

    said = parse(text)

    assert (said.verb, said.target, said.step) == ("metric", "self", -3)
    assert str(said.numbers()) == "[('loss', 0.5), ('a/b', nan)]"


def test_a_number_that_is_none_is_refused(host: Host) -> None:
    assert host.say(JOB, light.message("metric", [("loss", "high")])) == []
    assert host.desk.refused == 1


def test_a_program_tags_itself_with_the_name_that_the_kernel_gives(host: Host) -> None:
    rows = host.say(JOB, light.message("tag", [("project", "tickets"), ("pii", "")]))

    assert rows == [
        TagRow(key(JOB), "project", "tickets", False, False, ADA, "ada", NOW_NS),
        TagRow(key(JOB), "pii", None, False, True, ADA, "ada", NOW_NS),
    ]


def test_a_metric_has_its_step(host: Host) -> None:
    rows = host.say(JOB, light.message("metric", [("acc", "0.93")], step="400"))

    assert rows == [MetricRow(key(JOB), "acc", 0.93, 400, NOW_NS)]


def test_a_command_tags_the_shell_that_called_it(host: Host) -> None:
    text = light.message("tag", [("note", "x")], "parent", "answer")

    (row,) = host.say(JOB, text)

    assert isinstance(row, TagRow)
    assert row.process == key(SHELL)
    assert host.ear.answers == [{"ok": True, "process": "?"}]


@pytest.mark.parametrize(("uid", "allowed"), [(ADA, True), (EVE, False), (0, True)])
def test_only_its_user_and_root_may_tag_a_process(host: Host, uid: int, allowed: bool) -> None:
    host.fork(600, uid=uid)

    rows = host.say(600, light.message("tag", [("a", "b")], str(JOB), "answer"), uid)

    assert [row.process for row in rows if isinstance(row, TagRow)] == [key(JOB)] * allowed
    assert [answer["ok"] for answer in host.ear.answers] == [allowed]


def test_a_process_id_of_another_namespace_names_nobody(host: Host) -> None:
    host.fork(600, pid_ns=2)

    assert host.say(600, light.message("tag", [("a", "b")], str(JOB))) == []


def test_a_sender_outside_of_our_namespace_is_refused(host: Host) -> None:
    assert host.say(0, light.message("tag", [("a", "b")])) == []


def test_words_wait_for_the_record_of_their_process(host: Host) -> None:
    before = host.say(700, light.message("tag", [("a", "b")]))
    host.fork(700)
    host.desk.take(NOW_NS + MS)

    assert before == []
    assert [row.process for row in host.desk.take_rows()] == [key(700)]


def test_words_of_a_process_that_nobody_observes_are_told_so(host: Host) -> None:
    host.say(700, light.message("tag", [("a", "b")], flags="answer"))
    host.desk.take(NOW_NS + WAIT_NS)

    assert [answer["ok"] for answer in host.ear.answers] == [False]
    assert host.desk.refused == 1


def test_a_process_id_that_is_used_again_means_the_new_process(host: Host) -> None:
    host.processes.on_exit(event(Kind.EXIT, tgid=JOB, start_ns=JOB * MS))
    host.processes.on_fork(event(Kind.FORK, tgid=JOB, start_ns=9_999 * MS, uid=ADA))

    (row,) = host.say(JOB, light.message("tag", [("a", "b")]))

    assert row.process == ProcessKey(JOB, 9_999 * MS, 0)  # type: ignore[union-attr]


def test_a_flood_of_one_user_is_bounded_and_counted(host: Host) -> None:
    text = light.message("metric", [("a", "1")])
    for _ in range(RATE + 50):
        host.ear.heard.append(Heard(JOB, ADA, text, None))
    while host.ear.heard:
        host.desk.take(NOW_NS)

    assert (len(host.desk.take_rows()), host.desk.refused) == (RATE, 50)
    assert len(host.say(JOB, text, now_ns=NOW_NS + SECOND_NS)) == 1


def test_secrets_are_replaced_before_anything_is_kept(host: Host) -> None:
    token = "hf_" + "a1B2" * 9

    (row,) = host.say(JOB, light.message("tag", [("note", f"--token={token}")]))

    assert isinstance(row, TagRow)
    assert token not in (row.value or "")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(light, "FOLDER", str(tmp_path / "jobs"))
    return tmp_path / "jobs"


@pytest.fixture
def ear(folder: Path) -> Iterator[JobSocket]:
    made = JobSocket(folder)
    yield made
    made.close()


def test_the_kernel_says_who_spoke(ear: JobSocket) -> None:
    taken = whence.tag(project="tickets", note=None)

    heard = list(ear.receive(10))

    assert taken
    assert [(each.pid, each.uid) for each in heard] == [(os.getpid(), os.getuid())] * len(heard)
    assert [parse(each.text).pairs for each in heard] == [(("project", "tickets"),)]


def test_every_user_may_speak(ear: JobSocket, folder: Path) -> None:
    (path,) = folder.glob("*.sock")

    assert (path.stat().st_mode & 0o777, folder.stat().st_mode & 0o022) == (0o666, 0)


def test_none_takes_a_key_away_and_true_is_a_label(ear: JobSocket) -> None:
    whence.tag(pii=None, test_set=True)

    said = [parse(each.text) for each in ear.receive(10)]

    assert {(each.pairs, each.flags) for each in said} == {
        ((("test-set", ""),), frozenset()),
        ((("pii", ""),), frozenset({"remove"})),
    }


def test_nothing_happens_where_no_daemon_is(folder: Path) -> None:
    assert (whence.tag(project="x"), whence.metric("acc", 0.9)) == (False, False)


def test_a_dead_socket_is_no_error_and_is_removed_by_the_next_daemon(folder: Path) -> None:
    folder.mkdir()
    (folder / "999999999.sock").touch()

    taken = whence.metric("acc", 0.9)
    ear = JobSocket(folder)
    left = [path.name for path in folder.iterdir()]
    ear.close()

    assert (taken, left) == (False, [f"{os.getpid()}.sock"])


class Hostile:
    """A value whose every conversion fails."""

    def __float__(self) -> float:
        raise RuntimeError("a tensor on a device that is gone")

    def __str__(self) -> str:
        raise RuntimeError("no")


def test_no_value_makes_the_job_fail(ear: JobSocket) -> None:
    hostile: Any = Hostile()

    assert (whence.metric("acc", hostile), whence.tag(note=hostile)) == (False, False)
    assert whence.metric("acc", 1.0, step=hostile) is False


def test_words_past_the_limit_are_dropped_not_cut(ear: JobSocket) -> None:
    whence.tag(note="x" * 20_000)

    assert list(ear.receive(10)) == []


def test_a_full_daemon_does_not_stop_the_job(ear: JobSocket) -> None:
    taken = [whence.metric("acc", 0.5) for _ in range(50_000)]

    assert taken[0]
    assert not taken[-1]
