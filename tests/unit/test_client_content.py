"""Content of files: what is hashed, and one clear sentence for what cannot be."""

from __future__ import annotations

import io
import os
import socket
from pathlib import Path

import pytest
from blake3 import blake3

from whence.content import CHUNK_BYTES, as_digest, hash_file, real_path, wire_text
from whence.errors import MissingFileError, MisuseError, UnreadableFileError, exit_code
from whence.progress import PATIENCE_NS, HashingBar, hashing_bar


@pytest.mark.parametrize("size_bytes", [0, 1, 70_000, CHUNK_BYTES + 1])
def test_digest_is_blake3_of_all_bytes(tmp_path: Path, size_bytes: int) -> None:
    content = os.urandom(size_bytes)
    (tmp_path / "a").write_bytes(content)

    hashed = hash_file(str(tmp_path / "a"))

    assert hashed.digest == f"blake3:{blake3(content).hexdigest()}"
    assert hashed.size_bytes == size_bytes


def test_progress_reaches_the_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(CHUNK_BYTES + 5))
    told: list[tuple[int, int]] = []

    hash_file(str(tmp_path / "a"), lambda done, total: told.append((done, total)))

    assert told[-1] == (CHUNK_BYTES + 5, CHUNK_BYTES + 5)


def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(UnreadableFileError, match="pipe is a FIFO, which keeps no content") as told:
        hash_file(str(tmp_path / "pipe"))

    assert exit_code(told.value) == 2


def test_special_files_are_named(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        cases = [(tmp_path, "a directory"), (tmp_path / "s", "a socket"), ("/dev/null", "device")]

        for path, words in cases:
            with pytest.raises(UnreadableFileError, match=words):
                hash_file(str(path))


def test_a_loop_of_links_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")

    with pytest.raises(UnreadableFileError, match="loop of symbolic links"):
        hash_file(str(tmp_path / "a"))


@pytest.mark.parametrize("name", ["gone", "file/below"])
def test_a_missing_file_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(MissingFileError, match="does not exist"):
        hash_file(str(tmp_path / name))


def test_a_link_to_nothing_tells_where_it_points(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "gone")

    with pytest.raises(MissingFileError, match=r"a points to .*gone, which does not exist"):
        hash_file(str(tmp_path / "a"))


def test_an_empty_or_endless_name_is_misuse() -> None:
    with pytest.raises(MisuseError, match="empty text"):
        hash_file("")
    with pytest.raises(UnreadableFileError, match="longer than any file's"):
        hash_file("a" * 5000)


def test_a_file_that_grows_meanwhile_gets_no_digest(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(bytes(CHUNK_BYTES + 1))

    def grow(_done: int, _all: int) -> None:
        os.truncate(path, CHUNK_BYTES + 2 + _done % 7)

    with pytest.raises(UnreadableFileError, match="changed while it was read") as told:
        hash_file(str(path), grow)

    assert exit_code(told.value) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("blake3:" + "A" * 64, "blake3:" + "a" * 64),
        ("abcdef", "blake3:abcdef"),
        ("blake3:9f2c61…", "blake3:9f2c61"),
        ("abcde", None),
        ("a" * 65, None),
        ("model.pt", None),
        ("sha256:abcdef", "sha256:abcdef"),
    ],
)
def test_as_digest(text: str, expected: str | None) -> None:
    assert as_digest(text) == expected


def test_real_path_follows_links_and_writes_bytes_as_the_wire_does(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to("here")
    odd = os.fsdecode(b"caf\xe9.pt")

    assert real_path(str(tmp_path / "link" / odd)) == f"{tmp_path}/here/caf\\xe9.pt"
    assert wire_text("café.pt") == "café.pt"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.mark.parametrize(("took_ns", "shown"), [(PATIENCE_NS // 2, False), (PATIENCE_NS * 2, True)])
def test_a_bar_comes_only_for_long_work(took_ns: int, shown: bool) -> None:
    err = Terminal()
    clock = iter((0, took_ns))
    bar = HashingBar("model.pt", err, lambda: next(clock))

    bar(1 << 20, 1 << 30)
    bar.stop()

    assert ("hashing model.pt" in err.getvalue()) == shown


def test_there_is_no_bar_where_nobody_sees_it() -> None:
    with hashing_bar("model.pt", io.StringIO()) as nothing, hashing_bar("m", Terminal()) as bar:
        pass

    assert nothing is None
    assert bar is not None
