"""Names of users and control groups, from given sources and from this host."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from whenced.cgroups import MISS_S, CgroupPaths, mount_point
from whenced.users import REREAD_S, UserNames, system_name


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        """Give the time."""
        return self.now_s


def test_the_systems_names() -> None:
    names = UserNames(system_name, patience_s=10.0)

    assert (names.name(0), names.name(4_000_000_000)) == ("root", None)


def test_a_name_is_asked_for_once_a_minute() -> None:
    asked: list[int] = []
    answered = threading.Semaphore(0)

    def lookup(uid: int) -> str:
        asked.append(uid)
        answered.release()
        return f"name {len(asked)}"

    clock = Clock()
    names = UserNames(lookup, clock, patience_s=10.0)
    assert [names.name(7), names.name(7)] == ["name 1", "name 1"]
    answered.acquire()
    clock.now_s += REREAD_S
    assert names.name(7) == "name 1"  # good while it is asked for again
    assert answered.acquire(timeout=10.0)

    assert asked == [7, 7]


def test_a_directory_server_that_hangs_does_not_hold_capture() -> None:
    release = threading.Event()

    def lookup(_: int) -> str:
        release.wait(30.0)
        return "ann"

    names = UserNames(lookup, patience_s=0.01)
    assert [names.name(7), names.name(7), names.name(8)] == [None, None, None]
    release.set()
    while names.name(7) is None:
        pass

    assert names.name(7) == "ann"


def test_where_version_2_is_mounted(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_bytes(
        b"cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
        b"cgroup2 /sys/fs/uni\\040fied cgroup2 rw 0 0\n"
    )

    assert mount_point(mounts) == Path("/sys/fs/uni fied")
    mounts.write_bytes(b"cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n")
    assert mount_point(mounts) is None


def test_paths_by_id_also_of_groups_made_later_and_gone(tmp_path: Path) -> None:
    (tmp_path / "system.slice" / "cron.service").mkdir(parents=True)
    (tmp_path / "cgroup.procs").write_text("")
    clock = Clock()
    paths = CgroupPaths(tmp_path, clock)
    cron_id = (tmp_path / "system.slice" / "cron.service").stat().st_ino

    assert paths.path(tmp_path.stat().st_ino) == "/"
    assert paths.path(cron_id) == "/system.slice/cron.service"
    (tmp_path / "new").mkdir()
    assert paths.path((tmp_path / "new").stat().st_ino) == "/new"
    (tmp_path / "system.slice" / "cron.service").rmdir()
    assert paths.path(cron_id) == "/system.slice/cron.service"


def test_an_unknown_id_is_looked_for_again_only_later(tmp_path: Path) -> None:
    clock = Clock()
    paths = CgroupPaths(tmp_path, clock)
    (tmp_path / "late").mkdir()
    late_id = (tmp_path / "late").stat().st_ino
    (tmp_path / "late").rename(tmp_path.parent / "elsewhere")

    assert paths.path(late_id) is None
    (tmp_path.parent / "elsewhere").rename(tmp_path / "late")
    assert paths.path(late_id) is None
    clock.now_s += MISS_S
    assert paths.path(late_id) == "/late"


def test_a_host_without_version_2() -> None:
    assert CgroupPaths(None).path(1) is None


@contextmanager
def hierarchy(directory: Path) -> Iterator[Path]:
    directory.mkdir()
    subprocess.run(["mount", "-t", "cgroup2", "none", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def test_the_kernels_own_hierarchy(tmp_path: Path) -> None:
    with hierarchy(tmp_path / "mount") as mount:
        group = mount / "whence-test-cgroup-paths"
        group.mkdir()
        try:
            assert CgroupPaths(mount).path(group.stat().st_ino) == f"/{group.name}"
        finally:
            group.rmdir()
