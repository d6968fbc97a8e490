"""What a request is matched with: tags of runs, datasets that are trees, keys of filings, paths."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.request_place import SEED, Place, agent
from tests.unit.test_requests_runs import HOUR_NS, MINUTE_NS, Site
from tests.unit.traced import NOON_NS, digest_of

from whence.folder import members_of, tree_of
from whence.request_form import card_of
from whence.request_paths import with_digests
from whence_collector import tree_store
from whence_proto.tree_digest import Member
from whence_proto.v1 import request_pb2 as wire


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.place.close()


def tree(site: Site, *contents: str) -> tuple[int, str]:
    """Make a tree of contents known; return its id and digest."""
    members = [
        Member(f"{number}.csv", bytes.fromhex(digest_of(each).removeprefix("blake3:")), 9)
        for number, each in enumerate(contents)
    ]
    made = site.place.store.write(
        lambda writer: tree_store.register(writer, members, "folder", NOON_NS)
    ).result()
    return made.tree_id, f"tree:{made.digest.hex()}"


def read_tree(site: Site, run_id: str, tree_id: int, path: str = "/d") -> None:
    site.write(
        "INSERT INTO run_tree VALUES (?, ?, ?, false, 2, 18, ?, ?, NULL)",
        run_id, tree_id, path, NOON_NS, NOON_NS,
    )  # fmt: skip


def run_of(site: Site) -> str:
    with site.place.store.cursor() as reader:
        return str(reader.rows("SELECT run_id FROM run ORDER BY started_ns DESC LIMIT 1")[0][0])


def check(site: Site, digest: str) -> list[tuple[str, str]]:
    card = wire.Card()
    card.CopyFrom(SEED)
    card.ClearField("base_model")
    card.datasets[0].digest = digest
    asked = wire.FileRequest(card=card, only_check=True)
    findings = site.place.ask("File", asked, *agent("ada")).findings
    return [(each.code, each.text) for each in findings]


@pytest.mark.parametrize("value", ["R-1", "r-1", "1", " 1 "])
def test_a_tag_says_which_request_a_run_answers(site: Site, value: str) -> None:
    name = site.approved()
    site.train(data="something else")
    site.write(
        "INSERT INTO tag VALUES ('run', ?, NULL, 'request', ?, false, false, 'ada@h', true, ?)",
        run_of(site), value, NOON_NS,
    )  # fmt: skip
    site.step(NOON_NS + HOUR_NS)
    assert [(run.how, run.score) for run in site.get(name).runs] == [("tag", 900)]


def test_a_dataset_that_is_a_tree_is_known_and_what_ran_on_it_is_told(site: Site) -> None:
    tree_id, digest = tree(site, "tickets", "others")
    assert "unknown" not in {code for code, _ in check(site, digest) if code == "unknown"}
    assert any(code == "unknown" for code, _ in check(site, "tree:" + "0" * 64))
    process = site.train()
    site.end(process)
    read_tree(site, run_of(site), tree_id)
    told = [text for code, text in check(site, digest[:17]) if code == "earlier"]
    assert len(told) == 1
    assert told[0].startswith("this ran on 2")
    assert "tuned" not in told[0]
    assert digest_of("tuned")[:19] in told[0]


def test_a_tree_that_holds_test_data_is_told(site: Site) -> None:
    _, digest = tree(site, "tickets", "june")
    site.end(site.train(data="june"))
    site.write(
        "INSERT INTO tag VALUES ('artifact', ?, NULL, 'test-set', NULL, false, true, 'ada@h', "
        "true, ?)", digest_of("june"), NOON_NS,
    )  # fmt: skip
    (text,) = [text for code, text in check(site, digest) if code == "test-set"]
    assert "labelled test-set, in 1 file" in text


def test_an_approved_tree_that_was_read_is_no_drift(site: Site) -> None:
    tree_id, digest = tree(site, "tickets", "others")
    card = wire.DataRef(name="tickets", digest=digest)
    name = site.approved(title="tree")
    found = site.get(name)
    found.card.datasets[0].CopyFrom(card)
    site.place.ask("Edit", wire.EditRequest(request_id=name, card=found.card), *agent("ada"))
    from tests.unit.request_place import person

    digest_now = site.get(name).summary.digest
    verdict = wire.ReviewRequest(request_id=name, verdict="approve", digest=digest_now)
    site.place.ask("Review", verdict, *person("maria"))
    process = site.train(WHENCE_CLAIM=site.claimed(name))
    site.step(NOON_NS + MINUTE_NS)
    assert [list(run.drift) for run in site.get(name).runs] == [[]]  # not yet, and not said so
    site.end(process)
    assert "not read" in site.get(name).runs[0].drift[0] or site.get(name).runs[0].drift
    read_tree(site, site.get(name).runs[0].run_id, tree_id)
    assert list(site.get(name).runs[0].drift) == []


def test_the_same_key_is_the_same_filing_after_a_restart(tmp_path: Path) -> None:
    place = Place(tmp_path)
    maria = wire.Principal(name="maria", kind="human", roles=["approver"], accounts=["maria@*"])
    place.administer("SetPrincipal", maria)
    asked = wire.FileRequest(card=SEED, idempotency_key="k1")
    first = place.ask("File", asked, *agent("alice")).request.summary.request_id
    place.close()
    again = Place(tmp_path)  # another life of the collector
    names = [
        again.ask("File", asked, *agent(who)).request.summary.request_id
        for who in ("alice", "alice", "bob")
    ]
    again.close()
    assert names == [first, first, "R-2"]


def test_data_named_by_a_path_is_asked_for_as_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for name in ("a.csv", "b.csv"):
        (tmp_path / "set" / name).write_text(name)
    (tmp_path / "base.bin").write_text("weights")
    card = card_of(
        {
            "datasets": [str(tmp_path / "set"), "s3://corp/x@ad9c125", "s3://corp/y"],
            "base_model": str(tmp_path / "base.bin"),
        },
        0,
    )
    assert len(with_digests(card)) == 2
    digests = [each.digest for each in card.datasets]
    assert digests == [tree_of(members_of(str(tmp_path / "set")))[0], "ad9c125", ""]
    assert card.base_model.digest.startswith("blake3:")
    assert with_digests(card) == []


def test_a_job_that_tags_loads_neither_socket_nor_typing() -> None:
    """What makes the first call cheap: it loads less than `import socket` alone does."""
    code = "import sys; import whence; whence.tag(project='x'); print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = set(done.stdout.split())
    assert "whence.light" in loaded
    assert loaded & {"socket", "typing", "re", "enum", "selectors", "grpc", "importlib"} == set()
