"""Whoever has the database file and edits it is found: rows, records, the end of the chain."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.unit.request_place import SEED, Place, agent, person

from whence.errors import RefusedError
from whence.signed_head import signed_head
from whence_collector.database import connect
from whence_proto.v1 import request_pb2 as wire


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return a collector's requests with one of each: request, review, remark."""
    made = Place(tmp_path)
    maria = wire.Principal(name="maria", kind="human", roles=["approver"], accounts=["maria@*"])
    made.administer("SetPrincipal", maria)
    filed = made.ask("File", wire.FileRequest(card=SEED), *agent("alice")).request.summary
    made.ask("Comment", wire.CommentRequest(target="R-1", text="cheap"), *agent("alice"))
    verdict = wire.ReviewRequest(request_id="R-1", verdict="approve", digest=filed.digest)
    made.ask("Review", verdict, *person("maria"))
    return made


def faults(place: Place) -> list[str]:
    reply = place.ask("CheckTables", wire.CheckTablesRequest(), *person("maria"))
    return list(reply.faults)


def edited(place: Place, sql: str) -> list[str]:
    """Edit the file of a stopped collector; return what is said after it starts again."""
    place.close()
    with connect(place.folder / "whence.duckdb") as file:
        file.execute(sql)
    again = Place(place.folder)
    found = faults(again)
    assert found == list(again.ledger.faults)  # told at the start as well
    again.close()
    return found


def test_what_nobody_touched_is_whole(place: Place) -> None:
    reply = place.ask("CheckTables", wire.CheckTablesRequest(), *person("maria"))
    assert (list(reply.faults), reply.rows, reply.records) == ([], 3, place.ledger.book.head.number)
    place.close()


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        (
            "UPDATE training_request SET budget_micro_usd = 9984000000",
            "the row of R-1 was edited: budget_micro_usd is 9984000000, the records say 984000000",
        ),
        ("UPDATE training_request SET state = 'done'", "state is done, the records say approved"),
        ("UPDATE request_remark SET text = 'dear'", "text is dear, the records say cheap"),
        ("UPDATE request_review SET who = 'eve'", "who is eve, the records say maria"),
        ("DELETE FROM request_review", "request_review: a row of R-1 is missing"),
        ("INSERT INTO request_remark SELECT * FROM request_remark", "request_remark: a row of R-1"),
        (
            "INSERT INTO request_run VALUES ('R-1', 'abcd', 'claim', 1000, 5)",
            "request_run: a row of R-1 that no record tells of",
        ),
        (
            "UPDATE audit_record SET content_json = replace(content_json, 'cheap', 'dear!')",
            "was edited",
        ),
        ("DELETE FROM audit_record WHERE number = 2", "missing or moved"),
        (
            "UPDATE audit_record SET number = CASE number WHEN 2 THEN 3 WHEN 3 THEN 2 ELSE number "
            "END",
            "does not follow",
        ),
        # The tables still say what the cut records said.
        ("DELETE FROM audit_record WHERE number = (SELECT max(number) FROM audit_record)", "R-1"),
    ],
)
def test_an_edit_of_the_file_is_named(place: Place, sql: str, words: str) -> None:
    assert words in "; ".join(edited(place, sql))


def test_records_cut_off_while_the_collector_runs_are_found(place: Place) -> None:
    cut = "DELETE FROM audit_record WHERE number = (SELECT max(number) FROM audit_record)"
    place.store.write(lambda writer: writer.execute(cut)).result()
    place.store.write(lambda writer: writer.execute("DELETE FROM request_review")).result()
    restore = "UPDATE training_request SET state = 'filed', state_ns = filed_ns"
    place.store.write(lambda writer: writer.execute(restore)).result()
    assert "records were cut off its end" in "; ".join(faults(place))
    place.close()


def test_a_signed_head_is_verified_offline(tmp_path: Path) -> None:
    key, head, signers = tmp_path / "key", tmp_path / "head.txt", tmp_path / "signers"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    signers.write_text(f"maria {(tmp_path / 'key.pub').read_text()}")
    text = f"12:{'a' * 64}"
    sign = ["ssh-keygen", "-q", "-Y", "sign", "-n", "whence.audit", "-f", str(key)]
    done = subprocess.run(sign, input=f"{text}\n", capture_output=True, text=True, check=True)
    head.write_text(f"{text}\n{done.stdout}")

    assert signed_head(str(head), str(signers)) == (text, "maria")
    head.write_text(f"11:{'a' * 64}\n{done.stdout}")
    with pytest.raises(RefusedError, match="the head was changed"):
        signed_head(str(head), str(signers))
    signers.write_text("")
    with pytest.raises(RefusedError, match="signed by nobody"):
        signed_head(str(head), str(signers))
