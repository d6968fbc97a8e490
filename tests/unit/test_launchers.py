"""Programs as they are really called, and their roles and commands."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.traced import Host

from whence_collector.command_line import command_of, interpreter_operand, shell_operand
from whence_collector.launchers import Role, container_of, role_of, unit_of

ROLES = [
    (("-bash",), "/usr/bin/bash", 1, Role.INTERACTIVE),
    (("bash",), "/usr/bin/bash", 1, Role.INTERACTIVE),
    (("bash", "-i"), "/usr/bin/bash", 0, Role.INTERACTIVE),
    (("zsh", "-l"), "/usr/bin/zsh", 1, Role.INTERACTIVE),
    (("bash", "--norc", "--rcfile", "/x"), "/usr/bin/bash", 1, Role.INTERACTIVE),
    (("bash",), "/usr/bin/bash", 0, Role.SCRIPT),
    (("bash", "-s"), "/usr/bin/bash", 1, Role.SCRIPT),
    (("sh", "x.sh"), "/usr/bin/dash", 1, Role.SCRIPT),
    (("bash", "-eu", "-o", "pipefail", "x.sh"), "/usr/bin/bash", 1, Role.SCRIPT),
    (("bash", "-lc", "python a.py"), "/usr/bin/bash", 1, Role.SCRIPT),
    (("sh", "-c", "true"), "/usr/bin/busybox", 0, Role.SCRIPT),
    (("make", "-j4"), "/usr/bin/make", 1, Role.ENGINE),
    (("ninja",), "/usr/bin/ninja", 0, Role.ENGINE),
    (("cmake", "--build", "."), "/usr/bin/cmake", 0, Role.ENGINE),
    (("cmake", ".."), "/usr/bin/cmake", 0, Role.PROGRAM),
    (("python3", "/usr/bin/snakemake", "-j1"), "/usr/bin/python3.11", 0, Role.ENGINE),
    (("dvc", "repro"), "/usr/bin/dvc", 0, Role.ENGINE),
    (("dvc", "add", "x"), "/usr/bin/dvc", 0, Role.PROGRAM),
    (("sshd: ada@pts/0",), "/usr/sbin/sshd", 0, Role.HOST),
    (("tmux", "new"), "/usr/bin/tmux", 1, Role.HOST),
    (("/usr/sbin/cron", "-f"), "/usr/sbin/cron", 0, Role.HOST),
    (("/sbin/init",), "/usr/lib/systemd/systemd", 0, Role.HOST),
    (("claude",), "/usr/bin/node", 1, Role.HOST),
    (("jupyter", "lab"), "/usr/bin/jupyter", 1, Role.HOST),
    (("python", "/usr/bin/jupyter-lab"), "/usr/bin/python3", 1, Role.HOST),
    (("env", "A=1", "x"), "/usr/bin/env", 1, Role.WRAPPER),
    (("python", "-m", "torch.distributed.run", "t.py"), "/usr/bin/python3.11", 1, Role.WRAPPER),
    (("python", "/usr/bin/accelerate", "launch", "t.py"), "/usr/bin/python3", 1, Role.WRAPPER),
    (("python", "/usr/bin/accelerate", "config"), "/usr/bin/python3", 1, Role.PROGRAM),
    (("uv", "run", "t.py"), "/usr/bin/uv", 1, Role.WRAPPER),
    (("uv", "pip", "install"), "/usr/bin/uv", 1, Role.PROGRAM),
    (("python", "train.py"), "/usr/bin/python3.11", 1, Role.PROGRAM),
    (("python", "-c", "x", "whence-canary:1"), "/usr/bin/python3", 0, Role.CANARY),
    (("./make_data",), "/home/ada/make_data", 1, Role.PROGRAM),
]


@pytest.mark.parametrize(("argv", "exe", "terminal", "expected"), ROLES)
def test_role(argv: tuple[str, ...], exe: str, terminal: int, expected: Role) -> None:
    row = Host().spawn(None, *argv, exe=exe, terminal=terminal)
    found = role_of(row)

    assert expected == found


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("sh", "x.sh", "a"), ("file", "x.sh", ("a",))),
        (("sh", "-c", "a b", "name"), ("text", "a b", ("name",))),
        (("bash", "-o", "pipefail", "-ec", "x"), ("text", "x", ())),
        (("bash", "-c", "--", "x"), ("text", "x", ())),
        (("bash", "--", "x.sh"), ("file", "x.sh", ())),
        (("bash", "-s", "arg"), ("none", "", ())),
        (("bash", "-i"), ("none", "", ())),
        (("sh", "-"), ("none", "", ())),
    ],
)
def test_shell_operand(argv: tuple[str, ...], expected: tuple[str, str, tuple[str, ...]]) -> None:
    found = shell_operand(argv)

    assert expected == (found.kind, found.text, found.rest)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("python", "a.py", "-c"), ("file", "a.py", ("-c",))),
        (("python", "-u", "-W", "ignore", "a.py"), ("file", "a.py", ())),
        (("python", "-Wignore", "-X", "dev", "a.py"), ("file", "a.py", ())),
        (("python", "-um", "pkg.train", "x"), ("module", "pkg.train", ("x",))),
        (("python", "-c", "import x"), ("text", "import x", ())),
        (("perl", "-e", "print"), ("text", "print", ())),
        (("python",), ("none", "", ())),
    ],
)
def test_interpreter_operand(
    argv: tuple[str, ...], expected: tuple[str, str, tuple[str, ...]]
) -> None:
    found = interpreter_operand(argv)

    assert expected == (found.kind, found.text, found.rest)


@pytest.mark.parametrize(
    ("cgroup", "container", "unit"),
    [
        ("/", None, None),
        ("/system.slice/ssh.service", None, "ssh.service"),
        ("/user.slice/user-1000.slice/session-3.scope", None, "session-3.scope"),
        ("/system.slice/docker-0123456789ab.scope", "0123456789ab", "docker-0123456789ab.scope"),
        ("/docker/0123456789abcdef", "0123456789abcdef", None),
        ("/machine.slice/libpod-abcdef123456.scope", "abcdef123456", "libpod-abcdef123456.scope"),
        (f"/kubepods/burstable/pod1/{'a' * 64}", "a" * 64, None),
        (
            f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{'b' * 64}.scope",
            "b" * 64,
            f"cri-containerd-{'b' * 64}.scope",
        ),
    ],
)
def test_control_groups(cgroup: str, container: str | None, unit: str | None) -> None:
    row = Host().spawn(None, "x", cgroup=cgroup)
    found = (container_of(row), unit_of(row))

    assert (container, unit) == found


@pytest.mark.parametrize(
    ("argv", "script", "expected"),
    [
        (("python", "a.py", "a b"), None, "python a.py 'a b'"),
        (("bash", "-c", " cd x && ls "), None, "cd x && ls"),
        (("/bin/sh", "./x.sh", "1"), "./x.sh", "./x.sh 1"),
        (("/usr/bin/python3", "/usr/bin/tool", "1"), "/usr/bin/tool", "tool 1"),
        ((), None, "/usr/bin/x"),
    ],
)
def test_command_as_typed(argv: tuple[str, ...], script: str | None, expected: str) -> None:
    row = replace(Host().spawn(None, "x"), argv=argv, script=script)
    found = command_of(row)

    assert expected == found


def test_cut_arguments_are_marked() -> None:
    row = replace(Host().spawn(None, "x", "y"), arguments_truncated=True)
    found = command_of(row)

    assert found == "x y …"
