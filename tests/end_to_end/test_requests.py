"""The seed request on a real machine: an agent asks over MCP, a person who logged in agrees.

And the other way round: an agent's process tree that tries to agree by every way there is.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from tests.asking import Whence, settled
from tests.end_to_end.logins import Logins, logins
from tests.scope import Scope
from tools.instance import Instance

# Texts whose BLAKE3 begins as the seed's digests do (found by trying numbers).
DATASET = "id,question,answer\n1,how do I reset,press twice\n# support tickets 2026q2 288103227\n"
BASE = "base_v4 weights 125024656\n"
TRAIN = "cat tickets.csv base_v4.bin > tuned.bin"
SEED = {
    "title": "Tune base_v4 on the support tickets of Q2",
    "rationale": "Agents answer a third of the tickets wrong; this decides whether we tune or buy.",
    "datasets": ["s3://corp/support-tickets-2026q2@ad9c125"],
    "base_model": "base_v4@7c3a8de",
    "gpus": 8,
    "gpu_model": "H100",
    "hours": "3.2",
    "budget_usd": "984.00",
    "reviewers": ["maria"],
}


def administer(instance: Instance, *words: str) -> str:
    """Run whence-collector WORDS as root does when they set whence up."""
    program = Path(instance.python).parent / "whence-collector"
    done = subprocess.run(
        [str(program), *words],
        env=instance.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def person(
    scope: Scope, instance: Instance, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Logins]:
    """Maria, who may approve and reaches this host by ssh from afar."""
    account = f"root@{os.uname().nodename}"
    administer(
        instance, "principal", "add", "maria", "--kind", "human", "--role", "approver",
        "--account", account, "--limit", "1000",
    )  # fmt: skip
    administer(instance, "principal", "add", "alice", "--kind", "human")
    with logins(scope, instance, tmp_path_factory.mktemp("logins")) as made:
        yield made


def agent_server(scope: Scope, instance: Instance) -> StdioServerParameters:
    """Return how alice's agent starts `whence mcp`: in the captured group, below `claude`."""
    token = administer(instance, "token", "add", "alice").splitlines()[0]
    whence = Path(instance.python).parent / "whence"
    enter = f"echo 0 > {scope.directory}/cgroup.procs; exec -a claude bash -c '{whence} mcp; true'"
    return StdioServerParameters(
        command="bash", args=["-c", enter], env={**instance.environment, "WHENCE_TOKEN": token}
    )


async def tool(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool; return its document. Raises AssertionError with the tool's own words."""
    result = await client.call_tool(name, arguments)
    text = "".join(getattr(part, "text", "") for part in result.content)
    assert not result.is_error, text
    found: dict[str, Any] = result.structured_content or json.loads(text)
    return found["result"] if set(found) == {"result"} else found


def as_agent(server: StdioServerParameters, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    """Call tools one after the other over one real stdio connection."""

    async def talk() -> list[Any]:
        async with Client(server) as client:
            return [await tool(client, name, **arguments) for name, arguments in calls]

    return anyio.run(talk)


def state(whence: Whence, request: str) -> str:
    """Return where a request stands."""
    found: str = whence("request", "show", request)["summary"]["state"]
    return found


def test_the_seed_from_an_agents_filing_to_why(
    scope: Scope, instance: Instance, whence: Whence, person: Logins, place: Path
) -> None:
    server = agent_server(scope, instance)
    checked, filed, listed = as_agent(
        server, ("check_request", SEED), ("file_request", SEED), ("list_people", {})
    )
    assert checked["filed"] is False
    assert (filed["state"], filed["request"]["summary"]["requester_kind"]) == ("filed", "agent")
    assert filed["request"]["card"]["budget_micro_usd"] == 984_000_000
    assert filed["request"]["card"]["compute"] == {
        "count": 8, "gpu_model": "H100", "duration_s": 11_520,
    }  # fmt: skip
    assert listed["you"]["kind"] == "agent"
    assert listed["reviewers"] == ["maria"]
    name = filed["request_id"]

    said = person.type(
        "whence request whoami", f"whence request approve {name} --reason 'June set'"
    )
    assert state(whence, name) == "approved", said
    claimed = as_agent(server, ("claim_request", {"request_id": name, "host": "here"}))[0]
    assert claimed["state"] == "claimed"

    (place / "tickets.csv").write_text(DATASET)
    (place / "base_v4.bin").write_text(BASE)
    environment = {"WHENCE_CLAIM": claimed["claim_id"]}
    scope.run(["sh", "-c", TRAIN], place, environment=environment)

    assert settled(lambda: state(whence, name), "done") == "done"
    shown = whence("request", "show", name)
    assert [(run["how"], run["drift"]) for run in shown["runs"]] == [("claim", [])]
    why = whence("why", place / "tuned.bin")
    step = next(step for step in why["steps"] if step["request"])
    card, decisions = step["request"]["card"], step["request"]["decisions"]
    assert (card["datasets"][0]["digest"], card["base_model"]["digest"]) == ("ad9c125", "7c3a8de")
    assert [(each["who"], each["verdict"], each["reason"]) for each in decisions] == [
        ("maria", "approve", "June set")
    ]
    noted = person.type(f"whence note {place}/tuned.bin 'Kept: beats base_v4'")
    assert "noted on blake3:" in noted
    assert [each["text"] for each in whence("why", place / "tuned.bin")["notes"]] == [
        "Kept: beats base_v4"
    ]
    assert whence("audit", "verify")["ok"] is True


GRPC = """
import os, sys, grpc
from whence_proto.v1 import request_pb2 as wire
from whence_proto.v1.request_pb2_grpc import RequestsStub
from whence.caller_proof import ask_ticket, vouch_socket
stub = RequestsStub(grpc.insecure_channel(os.environ["WHENCE_ADDRESS"]))
digest = stub.Get(wire.GetRequest(request_id=sys.argv[1])).summary.digest
asked = wire.ReviewRequest(request_id=sys.argv[1], verdict="approve", digest=digest)
ticket = ("whence-ticket-bin", ask_ticket(vouch_socket(os.environ)) or b"")
token = ("authorization", "Bearer " + os.environ.get("STOLEN", ""))
for shown in ((), (token,), (ticket,), (ticket, token)):
    try:
        print("AGREED", stub.Review(asked, metadata=shown).summary.state)
    except grpc.RpcError as error:
        print("refused", error.details())
"""


def ways_to_agree(person: Logins, place: Path, name: str, token: str) -> list[str]:
    """Return what an agent, or a program that hides what it is, could run to agree."""
    agent, renamed, script = place / "claude", place / "vim", place / "approve.sh"
    agree = f"whence request approve {name}"
    script.write_text(f"{agree} < /dev/tty\n")
    ssh_here = " ".join(person.ssh("127.0.0.1"))
    ssh_near = " ".join(person.ssh(person.near))
    exports = "; ".join(person.exports())
    return [
        f"{agent} {agree}",
        f"{agent} setsid -w {agree}",
        f"{agent} bash -c '(nohup {agree} &) ; sleep 2'",
        f"{agent} env -i WHENCE_ADDRESS=$WHENCE_ADDRESS WHENCE_DATA_DIR=$WHENCE_DATA_DIR "
        f"PATH=$PATH {agree}",
        f"{agent} script -qec '{agree}' /dev/null",
        f"{agent} env WHENCE_TOKEN={token} {agree}",
        f"{agent} env STOLEN={token} python {place}/ways.py {name}",
        f"STOLEN={token} python {place}/ways.py {name}",
        f"WHENCE_TOKEN={token} WHENCE_DATA_DIR=/nowhere {agree}",
        f"CLAUDECODE=1 {agree}",
        f"{renamed} -c '{agree}; true'",
        f"bash {script}",
        f"bash -c '{agree}; true'",
        f"setsid -w {agree}",
        f"{agent} bash -c 'echo \"{exports}; {agree}; exit\" | {ssh_here}'",
        f"{agent} bash -c 'echo \"{exports}; {agree}; exit\" | {ssh_near}'",
        f"{agent} unshare --mount-proc --pid --fork {agree}",
        f"{agent} env LD_PRELOAD=/nowhere.so {agree}",
        f'{agent} python -c \'import os, pty; pty.spawn(["whence", "request", "approve", '
        f'"{name}"])\'',
        f"{agent} bash -c 'exec -a -bash bash -c \"{agree}; true\"'",
        f"{agent} whence-collector --help; {agent} whence-collector principal add eve --kind human "
        "--role approver",
    ]


def test_an_agent_cannot_agree_by_any_way(
    instance: Instance, whence: Whence, person: Logins, place: Path
) -> None:
    card = place / "card.yaml"
    card.write_text(
        "title: t\nrationale: r\ncompute: 8 x H100 3.2 h\nbudget: 984.00\nreviewers: [maria]\n"
    )
    agent, renamed = place / "claude", place / "vim"
    agent.write_text('#!/bin/bash\n"$@"; true\n')
    agent.chmod(0o755)
    renamed.write_bytes(Path("/bin/bash").read_bytes())
    renamed.chmod(0o755)
    (place / "ways.py").write_text(GRPC)
    token = administer(instance, "token", "add", "maria").splitlines()[0]
    alices = administer(instance, "token", "add", "alice").splitlines()[0]
    filed = person.type(f"WHENCE_TOKEN={alices} {agent} whence request file {card}")
    assert "filed R-" in filed, filed
    name = "R-" + filed.split("filed R-")[1].split()[0]
    agree = f"whence request approve {name}"
    ways = ways_to_agree(person, place, name, token)
    # Nothing but the shell itself reads what is typed; the group runs in that shell.
    said = person.type(*(f"{{ {way}; }} < /dev/null" for way in ways))
    assert "AGREED" not in said
    assert said.count("refused ") >= 8, said
    assert state(whence, name) == "filed", said
    assert "eve" not in administer(instance, "principal", "list")
    refused = whence.sql("SELECT subject, content FROM audit WHERE action = 'refused'")
    codes = {json.loads(row["content"])["code"] for row in refused if row["subject"] == name}
    assert {"agent", "ancestry"} <= codes
    # the log-in itself was good all the while
    person.type(agree)
    assert state(whence, name) == "approved"
    assert whence("audit", "verify")["ok"] is True


EDITOR = """#!/bin/sh
test -t 0 && test -t 1 || exit 3
cat > "$1" <<END
title: Written in an editor
rationale: r
compute: 1 x H100 1 h
budget: 10.00
reviewers: [maria]
END
"""


def test_a_person_at_a_terminal_writes_in_an_editor_and_reviews(
    instance: Instance, whence: Whence, person: Logins, place: Path
) -> None:
    """A real pseudo-terminal: ssh -tt, the editor's own terminal, answers typed to the question."""
    (place / "editor").write_text(EDITOR)
    (place / "editor").chmod(0o755)
    alices = administer(instance, "token", "add", "alice").splitlines()[0]
    write = f"EDITOR={place}/editor WHENCE_TOKEN={alices} whence request file"
    said = person.type(write, write)
    names = ["R-" + part.split()[0] for part in said.split("filed R-")[1:]]
    assert len(names) == 2, said

    question = ("leave it [enter]: ", "a")
    asked = person.talk(f"whence request review {names[0]}", question)
    assert state(whence, names[0]) == "approved", asked
    asked = person.talk(
        f"whence request review {names[1]}", (question[0], "c"), ("why: ", "Name the data")
    )
    assert state(whence, names[1]) == "changes requested", asked
    (decision,) = whence("request", "show", names[1])["decisions"]
    assert (decision["who"], decision["verdict"], decision["reason"]) == (
        "maria", "changes", "Name the data",
    )  # fmt: skip
    left = person.talk(f"whence request review {names[1]}", (question[0], ""))
    assert "left as it is" in left
