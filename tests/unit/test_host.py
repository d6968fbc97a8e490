"""Facts about a host, from procfs and sysfs below a root that the test made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from whenced.host import TRACEPOINTS, effective_capabilities, probe

ALL = frozenset(("cap_sys_admin", "cap_sys_ptrace", "cap_perfmon", "cap_bpf"))


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        ("0000000000000000", frozenset()),
        ("000001ffffffffff", ALL),
        ("0000008000000000", {"cap_bpf"}),
        ("0000004000080000", {"cap_perfmon", "cap_sys_ptrace"}),
        ("0000000000200000", {"cap_sys_admin"}),
    ],
)
def test_effective_capabilities(mask: str, names: frozenset[str]) -> None:
    status = f"Name:\tx\nCapInh:\tffffffffffffffff\nCapEff:\t{mask}\nCapBnd:\tffffffffffffffff\n"

    assert effective_capabilities(status) == names


def test_no_line_no_capabilities() -> None:
    assert effective_capabilities("Name:\tx\n") == frozenset()


def host(root: Path, mounts: str) -> Path:
    """Make procfs and sysfs of a kernel without BTF."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/status").write_text("CapEff:\t000001ffffffffff\n")
    (root / "proc/self/mounts").write_text(mounts)
    return root


@pytest.mark.parametrize(
    ("mounts", "found"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", True),
        ("/dev/sda1 / ext4 rw 0 0\ncg /sys/fs/cgroup/unified cgroup2 rw 0 0\n", True),
        ("cgroup /sys/fs/cgroup/memory cgroup rw 0 0\n", False),
        ("cgroup2 /a tmpfs rw 0 0\n", False),
        ("", False),
    ],
)
def test_cgroup2(tmp_path: Path, mounts: str, found: bool) -> None:
    assert probe(host(tmp_path, mounts), "libbpf-that-is-not-there.so").has_cgroup2 is found


def test_a_host_without_libbpf_and_btf(tmp_path: Path) -> None:
    facts = probe(host(tmp_path, ""), "libbpf-that-is-not-there.so")

    assert facts.libbpf_error is not None
    assert "libbpf-that-is-not-there.so" in facts.libbpf_error
    assert (facts.has_btf, facts.kernel_functions) == (False, frozenset())
    assert facts.tracepoint_arguments == dict.fromkeys(TRACEPOINTS)
    assert (facts.capabilities, facts.uid) == (ALL, os.geteuid())


def test_btf_is_a_file_of_sysfs(tmp_path: Path) -> None:
    root = host(tmp_path, "")
    (root / "sys/kernel/btf").mkdir(parents=True)
    (root / "sys/kernel/btf/vmlinux").write_bytes(b"")

    assert probe(root, "libbpf-that-is-not-there.so").has_btf
