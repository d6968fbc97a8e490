"""The registry of live whence processes under given roots."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from whenced.instances import Instances
from whenced.proc_stat import TICK_NS


def fake_process(proc: Path, pid: int, start_ticks: int, name: str = "whenced") -> None:
    (proc / str(pid)).mkdir(parents=True)
    fields = ["S", *["0"] * 18, str(start_ticks), "0", "0"]
    (proc / str(pid) / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")


def test_live_instances_are_listed_without_oneself(tmp_path: Path) -> None:
    instances = Instances(tmp_path / "registry")
    with subprocess.Popen(["sleep", "60"]) as other:
        instances.announce()
        instances.announce(other.pid)
        listed = instances.others()
        other.kill()

    assert listed == [other.pid]
    assert instances.others() == []


def test_an_entry_holds_the_start_in_boot_ns(tmp_path: Path) -> None:
    fake_process(tmp_path / "proc", 77, 4242)
    Instances(tmp_path / "registry", tmp_path / "proc").announce(77)

    assert (tmp_path / "registry" / "77").read_text() == f"{4242 * TICK_NS}\n"


def test_a_reused_process_id_is_not_an_instance(tmp_path: Path) -> None:
    registry, proc = tmp_path / "registry", tmp_path / "proc"
    fake_process(proc, 77, 4242)
    Instances(registry, proc).announce(77)
    (proc / "77" / "stat").unlink()
    (proc / "77").rmdir()
    fake_process(proc, 77, 4243)

    assert Instances(registry, proc).others() == []


def test_nanoseconds_within_the_tick_name_the_same_process(tmp_path: Path) -> None:
    registry, proc = tmp_path / "registry", tmp_path / "proc"
    fake_process(proc, 77, 4242)
    registry.mkdir()
    (registry / "77").write_text(str(4242 * TICK_NS + 123_456))

    assert Instances(registry, proc).others() == [77]


def test_a_command_name_may_hold_anything(tmp_path: Path) -> None:
    fake_process(tmp_path / "proc", 77, 4242, name="a) S 1 (b")
    instances = Instances(tmp_path / "registry", tmp_path / "proc")
    instances.announce(77)

    assert instances.others() == [77]


def test_foreign_files_are_ignored(tmp_path: Path) -> None:
    registry, proc = tmp_path / "registry", tmp_path / "proc"
    registry.mkdir()
    for pid in (70, 71):
        fake_process(proc, pid, 5)
    for name, content in (("70", b"soon"), ("71", b"\xff"), ("README", b"5"), ("²", b"5")):
        (registry / name).write_bytes(content)

    assert Instances(registry, proc).others() == []


def test_withdrawn_and_absent(tmp_path: Path) -> None:
    instances = Instances(tmp_path / "registry")

    assert instances.others() == []
    instances.announce()
    assert [path.name for path in (tmp_path / "registry").iterdir()] == [str(os.getpid())]
    instances.withdraw()
    instances.withdraw()
    assert list((tmp_path / "registry").iterdir()) == []


def test_a_user_cannot_hide_the_process_of_another(tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    with subprocess.Popen(["sleep", "60"]) as other:
        Instances(registry).announce(other.pid)
        os.chown(registry / str(other.pid), 65534, 65534)
        listed = Instances(registry).others()
        other.kill()

    assert listed == []
