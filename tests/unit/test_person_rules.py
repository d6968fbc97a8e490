"""Is it a person? Ancestries as daemons tell them, and what may be concluded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from whence_collector.person_rules import Seen, judge

SSHD = Seen(10, "/usr/sbin/sshd", ("sshd: alice [priv]",), "sshd", 0, "root", 0, True)
FAR = replace(SSHD, pid=11, uid=1000, user="alice", peer_address="192.0.2.7")
BASH = Seen(20, "/usr/bin/bash", ("-bash",), "bash", 1000, "alice", 5, True)
ASKS = Seen(
    30, "/usr/bin/python3.11", ("python", "/opt/bin/whence", "request"), "whence", 1000, "alice", 5,
    True,
)  # fmt: skip
INIT = Seen(1, "/usr/lib/systemd/systemd", ("/sbin/init",), "systemd", 0, "root", 0, True)
PERSON = (ASKS, BASH, FAR, SSHD, INIT)
CLAUDE = Seen(25, "/home/alice/.local/bin/claude", ("claude",), "claude", 1000, "alice", 5, False)
TOOL = Seen(26, "/usr/bin/bash", ("bash", "-c", "whence …"), "bash", 1000, "alice", 5, True)


def code(*ancestry: Seen, own: tuple[str, ...] = (), nodes: tuple[str, ...] = ()) -> str:
    """Return the code of the doubt about an ancestry, "" for a person's."""
    return judge(ancestry, own, nodes).doubt_code


def test_a_person_in_a_shell_of_a_log_in() -> None:
    judged = judge(PERSON, (), ())

    assert (judged.doubt, judged.agent, judged.user) == ("", "", "alice")


@pytest.mark.parametrize(
    "between",
    [
        (TOOL, CLAUDE),
        (CLAUDE,),
        # setsid, nohup, a fork that left: the forks are known, whoever adopted it
        (replace(TOOL, terminal=5, argv=("bash",)), CLAUDE),
        # an agent that is a script of an interpreter
        (TOOL, Seen(25, "/usr/bin/node", ("node", "/x/@openai/codex.js"), "node", 1, "a", 5, True)),
        (TOOL, Seen(25, "/usr/bin/python3", ("python3", "-m", "aider"), "python", 1, "a", 5, True)),
        # the way in for agents is an agent
        (Seen(25, "/usr/bin/python3", ("python3", "/b/whence", "mcp"), "whence", 1, "a", 5, True),),
    ],
)
def test_an_agent_anywhere_above_is_found(between: tuple[Seen, ...]) -> None:
    assert code(ASKS, *between, BASH, FAR, SSHD, INIT) == "agent"


def test_an_agent_above_the_log_in_is_found_too() -> None:
    assert code(ASKS, BASH, FAR, SSHD, CLAUDE, INIT) == "agent"


def test_an_agent_that_asks_itself_is_found() -> None:
    assert code(replace(CLAUDE, argv=("claude", "whence")), BASH, FAR, SSHD) == "agent"


def test_a_mark_in_the_environment_tells_where_the_chain_is_cut() -> None:
    judged = judge((replace(ASKS, marks=("CLAUDECODE",)), INIT), (), ())

    assert (judged.agent, judged.doubt_code) == ("claude", "agent")


@pytest.mark.parametrize(
    ("ancestry", "why"),
    [
        # a renamed agent is no shell, whatever it is called
        ((ASKS, replace(TOOL, argv=("bash",)), replace(CLAUDE, exe="/home/a/vim", argv=("vim",),
          command_name="vim"), BASH, FAR, SSHD), "no program of the system"),
        ((ASKS, replace(BASH, exe="/home/alice/bash", exe_is_systems=False), FAR, SSHD),
         "no program of the system"),
        # a script, cron, a service, systemd-run, a container
        ((ASKS, TOOL, BASH, FAR, SSHD), "started by a script"),
        ((replace(ASKS, terminal=0), BASH, FAR, SSHD), "no terminal"),
        ((ASKS, BASH, INIT), "stands systemd"),
        ((ASKS, BASH, replace(INIT, exe="/usr/sbin/cron", argv=("cron",))), "stands cron"),
        # a chain that nobody saw to its end
        ((ASKS, BASH), "no log-in"),
        ((ASKS,), "no log-in"),
        # a sshd of the user's own
        ((ASKS, BASH, replace(FAR, peer_address=""), INIT), "of a user"),
        # straight from a log-in, without a shell
        ((ASKS, FAR, SSHD), "stands sshd"),
        # an own program that speaks to the daemon
        ((replace(ASKS, argv=("python", "mine.py")), BASH, FAR, SSHD), "not asked by the command"),
    ],
)  # fmt: skip
def test_without_positive_proof_it_is_no_person(ancestry: tuple[Seen, ...], why: str) -> None:
    judged = judge(ancestry, (), ())

    assert judged.doubt_code == "ancestry"
    assert why in judged.doubt


@pytest.mark.parametrize(
    ("address", "own", "nodes"),
    [
        ("127.0.0.1", (), ()),
        ("::1", (), ()),
        ("10.0.0.5", ("10.0.0.5",), ()),
        ("10.0.0.6", (), ("10.0.0.6",)),
    ],
)
def test_a_log_in_that_a_program_could_have_made(
    address: str, own: tuple[str, ...], nodes: tuple[str, ...]
) -> None:
    far = replace(FAR, peer_address=address)

    assert code(ASKS, BASH, far, SSHD, own=own, nodes=nodes) == "relayed"


def test_below_sudo_it_is_who_logged_in() -> None:
    root = replace(ASKS, uid=0, user="root")
    sudo = Seen(28, "/usr/bin/sudo", ("sudo", "whence"), "sudo", 0, "root", 5, True)

    judged = judge((root, sudo, BASH, FAR, SSHD), (), ())

    assert (judged.doubt, judged.user) == ("", "alice")


def test_a_terminal_multiplexer_is_a_way_to_a_shell() -> None:
    server = Seen(40, "/usr/bin/tmux", ("tmux", "new"), "tmux: server", 1000, "alice", 0, True)

    assert code(ASKS, BASH, server, BASH, FAR, SSHD) == ""
