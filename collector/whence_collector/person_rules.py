"""Is it a person who typed this? From the ancestry that the probes saw, to yes or a reason why not.

Pure. A decision takes positive proof: a log-in by a system's program, below it only interactive
shells and the programs that lead to them, and no mark of an agent anywhere above the command. A
list of agents alone would be got around by renaming one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any


def _names(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


# Programs that let agents run commands; told by name, script or package in their words.
AGENTS = _names(
    "aider amp claude claude-code codex continue copilot crush cursor cursor-agent devin droid",
    "gemini gemini-cli goose kilocode kiro opencode openhands plandex q qwen roo swe-agent",
    "warp-agent windsurf",
)
AGENT_WORDS = re.compile(
    r"(claude-code|@openai/codex|gemini-cli|aider|opencode|openhands|swe-?agent|goose|cursor-agent"
    r"|copilot|mcp[-_]server)",
    re.IGNORECASE,
)
SHELLS = _names("bash zsh fish dash ash ksh mksh tcsh csh sh nu xonsh elvish")
# Between a person's log-in and their shell: they show a terminal or change the user.
PASSAGES = _names(
    "tmux tmux:server screen SCREEN zellij dtach abduco mosh-server sudo su doas login script"
)
LOGINS = _names("sshd sshd-session sshd-auth login")
INTERPRETERS = re.compile(r"^(python[0-9.]*|node|bun|deno|ruby|perl|java)$")
WORDS_LOOKED_AT = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """One process above a command, as a daemon told it."""

    pid: int
    exe: str
    argv: tuple[str, ...]
    command_name: str
    uid: int
    user: str
    terminal: int
    exe_is_systems: bool
    marks: tuple[str, ...] = ()
    peer_address: str = ""
    source: str = "probe"

    @property
    def name(self) -> str:
        """What it is called by its executable."""
        return self.exe.rpartition("/")[2].removesuffix(" (deleted)") or self.command_name

    def words(self) -> str:
        """How a sentence calls it."""
        return f"{self.name or 'a process'} (process {self.pid})"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Who acted on a host. doubt: why it is no person's act, "" where it is one."""

    user: str
    agent: str = ""
    doubt_code: str = ""
    doubt: str = ""

    def document(self, host: str, ancestry: Sequence[Seen]) -> dict[str, Any]:
        """Return what a record keeps of it."""
        kept: dict[str, Any] = {
            "host": host,
            "user": self.user,
            "ancestry": [f"{each.pid} {each.name}" for each in ancestry],
        }
        if self.agent:
            kept["agent"] = self.agent
        return kept


def judge(
    ancestry: Sequence[Seen], own_addresses: Collection[str], node_addresses: Collection[str]
) -> Judgement:
    """Say who acted. ancestry: the caller first, up to the first process of the host."""
    if not ancestry:
        return Judgement("", "", "ancestry", "the daemon saw no process behind this call")
    user = ancestry[0].user or str(ancestry[0].uid)
    agent, culprit = _agent(ancestry)
    if culprit is not None:
        sentence = (
            f"this was typed by {agent}, {culprit.words()}, under the account of {user}: "
            "an agent never decides, a person has to log in and do it"
        )
        return Judgement(user, agent, "agent", sentence)
    login = _way_to_login(ancestry)
    if isinstance(login, str):
        return Judgement(user, "", "ancestry", login)
    relayed = _relayed(login, own_addresses, node_addresses)
    if relayed:
        return Judgement(user, "", "relayed", relayed)
    return Judgement(_session_user(ancestry, user))


def _agent(ancestry: Sequence[Seen]) -> tuple[str, Seen | None]:
    named = [(name, each) for each in ancestry if (name := agent_name(each))]
    if named:
        # The way in for agents says less than the agent that came in by it.
        return next((pair for pair in named if pair[0] != "mcp"), named[0])
    # The caller's own environment tells of its agent even where a link of the chain is gone.
    for each in ancestry:
        if each.marks:
            return each.marks[0].partition("_")[0].lower().removesuffix("code"), each
    return "", None


def agent_name(seen: Seen) -> str:
    """Return the agent that a process is, "" where it is none that is known."""
    called = seen.argv[0].rpartition("/")[2] if seen.argv else ""
    for name in (seen.name, called, seen.command_name):
        if name in AGENTS:
            return name
    if seen.name in SHELLS or called in SHELLS:
        return ""
    first = seen.argv[1 : 1 + WORDS_LOOKED_AT] if INTERPRETERS.match(seen.name) else ()
    for word in first:
        base = word.rpartition("/")[2].removesuffix(".js").removesuffix(".py")
        if base in AGENTS:
            return base
        if found := AGENT_WORDS.search(word):
            return found[1].lower()
    if "mcp" in seen.argv[1:3] and any(w.rpartition("/")[2] == "whence" for w in seen.argv[:2]):
        return "mcp"
    return ""


def _way_to_login(ancestry: Sequence[Seen]) -> Sequence[Seen] | str:
    """Return the log-in's own processes above a command, or why there is no way up to one."""
    caller = ancestry[0]
    if not caller.terminal:
        return (
            "this command has no terminal: a decision is typed by a person in a log-in of theirs, "
            "not by a script, cron or service"
        )
    if not is_client(caller):
        return (
            f"this was not asked by the command whence but by {caller.words()}: "
            "decide with `whence request`"
        )
    below_shell = False
    for number, each in enumerate(ancestry[1:], start=1):
        if each.name in LOGINS and each.exe_is_systems and below_shell:
            return _login_group(ancestry[number:])
        if hindrance := _hindrance(each):
            return hindrance
        below_shell = below_shell or each.name in SHELLS
    return (
        "no log-in stands above this command: log in (ssh, console) and type it in that shell, "
        "or sign the decision elsewhere"
    )


def _hindrance(each: Seen) -> str:
    """Say why a process between log-in and command makes it no person's act; "" where it may be."""
    if not each.exe_is_systems:
        return f"between you and this command stands {each.words()}, no program of the system"
    if each.name in SHELLS and not is_interactive(each):
        return f"this was started by a script, {each.words()}: type the decision in a shell"
    if each.name not in SHELLS and each.name not in PASSAGES:
        return (
            f"between your log-in and this command stands {each.words()}: "
            "type the decision in a shell of a log-in"
        )
    return ""


def is_client(seen: Seen) -> bool:
    """Whether a process is the command line, by its words: `whence …` or `python -m whence …`."""
    named = any(word.rpartition("/")[2] == "whence" for word in seen.argv[:2])
    return named or seen.argv[1:3] == ("-m", "whence")


def is_interactive(shell: Seen) -> bool:
    """Whether a shell reads what a person types: no script and no command among its words."""
    if not shell.terminal:
        return False
    for word in shell.argv[1:]:
        if word in ("-i", "-l", "-il", "-li", "--login", "--norc", "--noprofile", "--posix"):
            continue
        if word.startswith("-") and not word.startswith("--") and "c" not in word:
            continue
        return False
    return True


def _login_group(above: Sequence[Seen]) -> Sequence[Seen] | str:
    """The contiguous processes of one log-in; one of them must be root's, or anybody could."""
    group = []
    for each in above:
        if each.name not in LOGINS or not each.exe_is_systems:
            break
        group.append(each)
    if any(each.uid == 0 for each in group):
        return group
    return f"{group[0].words()} is no log-in of the system but of a user: log in by the system's"


def _relayed(
    login: Sequence[Seen], own_addresses: Collection[str], node_addresses: Collection[str]
) -> str:
    for each in login:
        if not each.peer_address:
            continue
        if each.peer_address in own_addresses or _is_loopback(each.peer_address):
            return (
                "this log-in came from this very host, where a program could have made it: "
                "log in from your own machine"
            )
        if each.peer_address in node_addresses:
            return (
                f"this log-in came from {each.peer_address}, another observed host, where a "
                "program could have made it: log in directly from your own machine"
            )
    return ""


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _session_user(ancestry: Sequence[Seen], user: str) -> str:
    """Below sudo, the one who logged in: root's name says nothing about who it is."""
    if ancestry[0].uid != 0:
        return user
    shells = [each for each in ancestry[1:] if each.name in SHELLS]
    return (shells[-1].user or user) if shells else user
