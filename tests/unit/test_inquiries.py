"""Which files are asked about, how often, and the rows of the answers."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.daemon_samples import FILE, MS, NOW_NS, READER, SECOND_NS, SHELL, event, version

from whence_proto.v1 import ingest_pb2 as wire
from whenced.hash_messages import DONE, InspectReply, InspectRequest
from whenced.inquiries import TICKETS, Inquiries, kind_of
from whenced.record import Kind
from whenced.rows import ChangeRow, ContainerRow, OriginRow, PackageRow

TORCH = b"/venv/lib/python3.11/site-packages/torch/nn.py"
WHEEL = ("pypi", "torch", "2.9.1", "/venv", "ab" * 32, "")
FILE_0 = version(0)


def asked(inquiries: Inquiries, now_ns: int = NOW_NS + SECOND_NS) -> list[InspectRequest]:
    return inquiries.requests(now_ns)


def touched(inquiries: Inquiries, path: bytes, kind: int = Kind.READ, **fields: Any) -> None:
    process = fields.pop("process", READER)
    inquiries.touched(event(kind, **fields), process, path, FILE_0)


def answered(inquiries: Inquiries, *texts: tuple[str, ...] | None) -> None:
    """Answer the one request that is due, path by path."""
    (request,) = asked(inquiries)
    for place, each in enumerate(texts):
        if each is not None:
            inquiries.on_reply(InspectReply(request.ticket, place, each))
    inquiries.on_reply(InspectReply(request.ticket, DONE))


@pytest.fixture
def inquiries() -> Inquiries:
    return Inquiries(lambda _: 0)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (TORCH, "python"),
        (b"/home/ada/train.py", "code"),
        (b"/home/ada/__pycache__/util.cpython-311.pyc", "code"),
        (b"/home/ada/conf/run.yaml", "code"),
        (b"/home/ada/Makefile", "code"),
        (b"/home/ada/data/shard-1.parquet", ""),
        (b"/usr/lib/python3.11/json/__init__.py", ""),
        (b"/home/ada/.pyenv/versions/3.11.7/lib/python3.11/os.py", ""),
        (b"/home/ada/.git/config", ""),
        (b"/cache/hub/models--a--b/blobs/" + b"ab" * 32, "hub"),
    ],
)
def test_a_path_tells_what_to_ask(path: bytes, kind: str) -> None:
    assert kind_of(path) == kind


def test_paths_that_come_together_are_asked_about_together(inquiries: Inquiries) -> None:
    touched(inquiries, TORCH)
    touched(inquiries, TORCH + b"x", inode=77)
    early = asked(inquiries, NOW_NS + MS)

    assert early == []
    assert asked(inquiries) == [InspectRequest(TICKETS, "python", TORCH + b"\0" + TORCH + b"x")]
    assert asked(inquiries) == []


def test_a_file_is_asked_about_once_and_each_program_told_once(inquiries: Inquiries) -> None:
    touched(inquiries, TORCH)
    touched(inquiries, TORCH, process=SHELL)
    answered(inquiries, WHEEL)
    for process in (READER, SHELL, READER):
        touched(inquiries, TORCH, process=process)

    assert asked(inquiries) == []
    assert inquiries.rows == [
        PackageRow(each, "pypi", "torch", "2.9.1", "/venv", b"\xab" * 32, False, NOW_NS)
        for each in (READER, SHELL)
    ]


def test_another_file_under_the_same_name_is_asked_about_again(inquiries: Inquiries) -> None:
    touched(inquiries, TORCH)
    answered(inquiries, WHEEL)
    touched(inquiries, TORCH, inode=FILE.inode + 1)

    assert len(asked(inquiries)) == 1


def test_what_nothing_is_known_of_has_no_row(inquiries: Inquiries) -> None:
    touched(inquiries, TORCH)
    answered(inquiries, None)

    assert inquiries.rows == []


def test_a_loaded_library_is_asked_about_and_a_read_one_is_not(inquiries: Inquiries) -> None:
    touched(inquiries, b"/usr/lib/libc.so.6", Kind.READ)
    touched(inquiries, b"/usr/lib/libm.so.6", Kind.EXECUTE, inode=9)
    answered(inquiries, ("deb", "libc6", "2.36", "", "", ""))

    assert inquiries.rows == [PackageRow(READER, "deb", "libc6", "2.36", None, b"", False, NOW_NS)]


def test_code_is_asked_about_again_after_a_while_and_told_by_its_source(
    inquiries: Inquiries,
) -> None:
    """A commit changes the answer and leaves the file alone."""
    change = ("/repo", "a.py", "modified", "c" * 40, "@@", "", "")
    cached = b"/repo/__pycache__/a.cpython-311.pyc"
    touched(inquiries, cached)
    (request,) = asked(inquiries)
    inquiries.on_reply(InspectReply(request.ticket, 0, change))
    inquiries.on_reply(InspectReply(request.ticket, DONE))
    touched(inquiries, cached, at_ns=NOW_NS + SECOND_NS)
    touched(inquiries, cached, at_ns=NOW_NS + 9 * SECOND_NS)

    assert request.paths == b"/repo/a.py"
    assert len(asked(inquiries, NOW_NS + 99 * SECOND_NS)) == 1
    modified = wire.CODE_CHANGE_MODIFIED
    assert inquiries.rows == [
        ChangeRow(READER, "/repo", "a.py", modified, "c" * 40, "@@", None, False, NOW_NS)
    ]


def test_an_origin_is_told_once_for_a_version(inquiries: Inquiries) -> None:
    path = b"/cache/models--a--b/blobs/" + b"ab" * 32
    name = ("model", "a/b", "12" * 20, "main", "model.safetensors")
    touched(inquiries, path)
    answered(inquiries, name)
    touched(inquiries, path, process=SHELL)

    assert inquiries.rows == [OriginRow(FILE_0, "huggingface", *name, NOW_NS)]


def test_a_container_is_told_once(inquiries: Inquiries) -> None:
    identity = "0f" * 32
    for process in (READER, SHELL):
        inquiries.contained(event(), process, f"/docker/{identity}")
    inquiries.contained(event(), SHELL, "/user.slice")
    answered(inquiries, ("docker", "train", "pytorch:2.9", ""))

    assert inquiries.rows == [
        ContainerRow(identity, "docker", "train", "pytorch:2.9", None, NOW_NS)
    ]


def test_one_request_is_never_longer_than_a_message(inquiries: Inquiries) -> None:
    for number in range(1_000):
        touched(inquiries, TORCH + b"%0200d" % number, inode=number)
    requests = asked(inquiries)

    assert sum(each.paths.count(b"\0") + 1 for each in requests) == 1_000
    assert max(len(each.paths) for each in requests) <= 16 << 10


def test_a_flood_of_files_leaves_some_out_and_counts_them(inquiries: Inquiries) -> None:
    for number in range(20_005):
        touched(inquiries, b"/w/%d.py" % number, inode=number)

    assert inquiries.left_out == 5


def test_clean_code_is_asked_about_less_often(inquiries: Inquiries) -> None:
    touched(inquiries, b"/repo/a.h")
    answered(inquiries, None)
    touched(inquiries, b"/repo/a.h", at_ns=NOW_NS + 9 * SECOND_NS)
    soon = asked(inquiries, NOW_NS + 99 * SECOND_NS)
    touched(inquiries, b"/repo/a.h", at_ns=NOW_NS + 40 * SECOND_NS)

    assert soon == []
    assert len(asked(inquiries, NOW_NS + 99 * SECOND_NS)) == 1
