"""Why an answer is not complete: records that were lost, inputs whose bytes nobody could read.

Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from whence_proto.v1 import query_pb2 as wire

NAMED = 3  # inputs without a digest that the sentence names
COMMAND_CHARS = 80


def add_completeness(
    reply: wire.Production | wire.LineageReply,
    runs: Iterable[wire.RunSummary],
    undigested: Sequence[tuple[str, str | None]] = (),
) -> None:
    """Say whether nothing of the runs is known to be lost and every input has a digest.

    undigested: path and reason of the inputs that are torn or unhashed.
    """
    reasons = []
    for run in runs:
        if not run.complete:
            reason = run.incomplete_reason or "the reason is not known"
            reasons.append(f"run {run.run_id} ({run.command[:COMMAND_CHARS]}): {reason}")
    if undigested:
        reasons.append(undigested_sentence(undigested))
    reply.complete = not reasons
    reply.incomplete_reasons.extend(reasons)


def undigested_sentence(undigested: Sequence[tuple[str, str | None]]) -> str:
    """Return one sentence about inputs that have no digest: path and reason of each."""
    count = len(undigested)
    named = [f"{path} ({reason})" if reason else path for path, reason in undigested[:NAMED]]
    more = [f"and {count - NAMED} more"] if count > NAMED else []
    have = "input has" if count == 1 else "inputs have"
    return f"{count} {have} no digest: {', '.join([*named, *more])}"
