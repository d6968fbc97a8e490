"""Paths that came as strings, below a root that the test made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from whenced.event import FileKey
from whenced.hash_open import ProbeResult, fstat_probe
from whenced.resolve import Resolver, slow_mounts

OURS, CONTAINER = 0, 55
MOUNTINFO = b"""\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:20 / /proc rw - proc proc rw
40 21 0:41 / /mnt/bucket rw,nosuid shared:9 master:2 - fuse.gcsfuse gcs rw
41 21 0:42 / /mnt/a\\040b rw - nfs4 host:/x rw
42 21 0:43 / /mnt/caf\xc3\xa9 rw - cifs //host/x rw
43 21 0:44 / /auto rw - autofs systemd-1 rw
44 21 0:45 / /nfs rw - tmpfs tmpfs rw
"""


def test_mounts_that_may_hang() -> None:
    expected = (b"/mnt/bucket", b"/mnt/a b", b"/mnt/caf\xc3\xa9", b"/auto")
    assert slow_mounts(MOUNTINFO) == expected


@pytest.mark.parametrize("broken", [b"", b"\n", b"nonsense", b"1 2 - nfs x", b" - nfs"])
def test_lines_that_are_no_mounts(broken: bytes) -> None:
    assert slow_mounts(broken) == ()


class Host:
    """Two roots below a directory, and a file system that must not be asked."""

    def __init__(self, directory: Path) -> None:
        self.ours, self.container = directory / "ours", directory / "container"
        self.mounts = b"9 1 0:9 / /slow rw - fuse.hangs x rw\n"
        self.mounts_read = 0
        self.now_s = 100.0
        self.resolver = Resolver(fstat_probe, lambda: self.now_s, self.root_of, self.mounts_of)

    def root_of(self, tgid: int) -> bytes:
        """Give the directory that stands for the root of a process."""
        return os.fsencode(self.container if tgid == CONTAINER else self.ours)

    def mounts_of(self, _: int) -> bytes:
        """Give the mounts that the test put down."""
        self.mounts_read += 1
        return self.mounts

    def link(self, name: str, target: str, root: Path | None = None) -> None:
        """Make a symbolic link."""
        link = (root or self.ours) / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    for root in ("ours", "container"):
        (tmp_path / root / "data" / "raw").mkdir(parents=True)
        (tmp_path / root / "data" / "raw" / "file").write_text(root)
    return Host(tmp_path)


@pytest.mark.parametrize(
    ("target", "path", "canonical"),
    [
        ("/data", b"/link/f", b"/data/f"),
        ("data", b"/link/raw/f", b"/data/raw/f"),
        ("data/../data/./raw", b"/link/f", b"/data/raw/f"),
        ("../../../data", b"/link/f", b"/data/f"),
        ("/data/raw/file", b"/link", b"/link"),
        ("link", b"/link/f", b"/link/f"),
        ("/nowhere", b"/link/f", b"/link/f"),
        ("/data/raw/file", b"/link/f", b"/data/raw/file/f"),
    ],
)
def test_links_in_the_parents_are_followed_the_last_name_is_not(
    host: Host, target: str, path: bytes, canonical: bytes
) -> None:
    host.link("link", target)

    assert host.resolver.canonical(OURS, path) == canonical


def test_a_chain_of_links(host: Host) -> None:
    host.link("a", "/b")
    host.link("b", "c/raw")
    host.link("c", "data")

    assert host.resolver.canonical(OURS, b"/a/f") == b"/data/raw/f"


def test_links_belong_to_the_root_of_their_process(host: Host) -> None:
    host.link("link", "/data/raw")
    host.link("link", "/data", root=host.container)

    assert host.resolver.canonical(OURS, b"/link/f") == b"/data/raw/f"
    assert host.resolver.canonical(CONTAINER, b"/link/f") == b"/data/f"


def test_a_directory_that_the_kernel_named_needs_no_look(host: Host) -> None:
    host.link("seen", "/data")
    host.resolver.note(b"/seen/other")

    assert host.resolver.canonical(OURS, b"/seen/f") == b"/seen/f"
    assert host.resolver.canonical(CONTAINER, b"/data/f") == b"/data/f"
    assert host.mounts_read == 1


def test_no_step_leads_to_a_mount_that_may_hang(host: Host) -> None:
    host.link("home/link", "/slow/x/y")
    host.link("slow/x", "/data")

    assert host.resolver.canonical(OURS, b"/home/link/f") == b"/home/link/f"
    assert not host.resolver.is_directory(OURS, b"/home/link/raw")
    assert not host.resolver.is_directory(OURS, b"/slow")
    assert host.resolver.file_at(OURS, b"/slow/x") is None


def test_a_name_that_begins_like_such_a_mount_is_none(host: Host) -> None:
    host.link("slower", "/data")

    assert host.resolver.canonical(OURS, b"/slower/f") == b"/data/f"


def test_mounts_are_read_again_after_a_while(host: Host) -> None:
    for now_s in (100.0, 104.0, 106.0):
        host.now_s = now_s
        host.resolver.is_directory(OURS, b"/data")

    assert host.mounts_read == 2


@pytest.mark.parametrize(
    ("path", "directory"),
    [(b"/data", True), (b"/data/raw/file", False), (b"/nothing", False), (b"/link", False)],
)
def test_directories(host: Host, path: bytes, directory: bool) -> None:
    host.link("link", "/data")

    assert host.resolver.is_directory(OURS, path) == directory


def found_at(path: Path) -> FileKey | None:
    """Ask a resolver of the real root, whose probe knows inode numbers only."""

    def probe(fd: int) -> ProbeResult | None:
        return fstat_probe(fd)

    return Resolver(probe, mounts_of=lambda _: b"").file_at(OURS, os.fsencode(path))


def test_the_file_at_a_path(host: Host) -> None:
    path = host.ours / "data" / "raw" / "file"

    found = found_at(path)

    assert found is not None
    assert found.inode == path.stat().st_ino


def test_no_regular_file_at_a_path(host: Host) -> None:
    host.link("link", "data/raw/file")

    assert found_at(host.ours / "data") is None
    assert found_at(host.ours / "nothing") is None
    assert found_at(host.ours / "link") is None
