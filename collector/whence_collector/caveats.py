"""What whence may have missed: said with every "no", and with what is still going on.

A "no" is worth as much as the watch that was kept: hosts that nobody observes now, times in which
nobody did, records that were lost.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from whence_collector.store import Reader
    from whence_proto.v1 import query_pb2 as wire

SECOND_NS = 1_000_000_000
CANARY_NS = 60 * SECOND_NS  # a daemon delivers something at least this often
NAMED_HOSTS = 6  # more than these are told of together
FEW_HOSTS = 3
Row = tuple[Any, ...]
HOSTS = """
SELECT h.host_id, h.name,
    (SELECT max(l.committed_ns) FROM batch_ledger l JOIN boot b USING (boot_id)
        WHERE b.host_id = h.host_id),
    (SELECT coalesce(sum(x.lost), 0)::BIGINT FROM loss x JOIN boot b USING (boot_id)
        WHERE b.host_id = h.host_id),
    (SELECT count(*) FROM unobserved u WHERE u.host_id = h.host_id),
    (SELECT coalesce(sum(u.until_ns - u.from_ns), 0)::BIGINT FROM unobserved u
        WHERE u.host_id = h.host_id),
    (SELECT max(u.until_ns) FROM unobserved u WHERE u.host_id = h.host_id),
    (SELECT min(p.at_unix_ns) FROM process p JOIN boot b USING (boot_id)
        WHERE b.host_id = h.host_id AND p.origin != 3)
FROM host h ORDER BY h.name
"""


def caveats(
    reader: Reader, is_connected: Callable[[int], bool], host: str | None = None
) -> list[str]:
    """Return one sentence for each thing that could hide what was asked for.

    host: the one that the question is about, None: any. Empty where every host is observed and
    nothing was ever lost.
    """
    found = [row for row in reader.rows(HOSTS) if host is None or row[1] == host]
    if not found:
        whose = f"host {host} has never delivered" if host else "no host has ever delivered"
        return [f"{whose}: nothing that happened there is known"]
    if len(found) > NAMED_HOSTS:
        return _of_many(found, is_connected)
    return [sentence for row in found for sentence in _of_one(row, is_connected)]


def _of_one(row: Row, is_connected: Callable[[int], bool]) -> list[str]:
    host_id, name, last_ns, lost, gaps, unobserved_ns, until_ns, since_ns = row
    sentences = []
    if not is_connected(host_id):
        sentences.append(_away(name, last_ns))
    if since_ns is not None:
        sentences.append(f"host {name} has been observed since {_utc(since_ns)}, not before")
    if gaps:
        times = "once" if gaps == 1 else f"{gaps} times"
        length = f"{unobserved_ns / SECOND_NS:,.0f} s in all, until {_utc(until_ns)}"
        sentences.append(f"host {name} was not observed {times}, {length}")
    if lost:
        sentences.append(f"{lost:,} records of host {name} were lost")
    return sentences


def heard_lately(reader: Reader, now_ns: int) -> Callable[[int], bool]:
    """Return whether hosts delivered lately, for those who know of no streams: see CANARY_NS."""
    last_ns = {row[0]: row[2] or 0 for row in reader.rows(HOSTS)}
    return lambda host_id: now_ns - last_ns.get(host_id, 0) < 3 * CANARY_NS


def _of_many(found: Sequence[Row], is_connected: Callable[[int], bool]) -> list[str]:
    """Say of a fleet what hides something on any of its hosts: a sentence each would be too long.

    gRPC takes 8 KiB of error, and nobody reads a thousand sentences.
    """
    away = [row[1] for row in found if not is_connected(row[0])]
    begun = [row[7] for row in found if row[7] is not None]
    gaps = [row[1] for row in found if row[4]]
    lossy = [row[1] for row in found if row[3]]
    sentences = []
    if away:
        sentences.append(f"{_hosts(away)} not heard of now")
    if begun:
        first, last = _utc(min(begun)), _utc(max(begun))
        sentences.append(f"{len(begun):,} hosts have been observed since {first} to {last}")
    if gaps:
        longest_s = max(row[5] for row in found) / SECOND_NS
        sentences.append(f"{_hosts(gaps)} not observed at times, {longest_s:,.0f} s at most")
    if lossy:
        lost = sum(row[3] for row in found)
        sentences.append(f"{lost:,} records were lost: {_hosts(lossy)} concerned")
    return sentences


def _hosts(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"host {names[0]} is"
    some = ", ".join(names[:FEW_HOSTS])
    return f"{len(names):,} hosts ({some}{', …' if len(names) > FEW_HOSTS else ''}) are"


def away_hosts(reader: Reader, is_connected: Callable[[int], bool]) -> dict[str, str]:
    """Return, by name, a sentence for each host that nobody hears of now."""
    return {
        name: _away(name, last_ns)
        for host_id, name, last_ns, *_ in reader.rows(HOSTS)
        if last_ns is not None and not is_connected(host_id)
    }


def mark_away(runs: Iterable[wire.RunSummary], away: dict[str, str]) -> list[str]:
    """Say of runs that seem to be running on such a host what that is worth; return it all."""
    told = []
    for run in runs:
        if run.status != "running" or run.host not in away:
            continue
        run.complete = False
        why = away[run.host]
        run.incomplete_reason = f"{run.incomplete_reason}; {why}" if run.incomplete_reason else why
        told.append(f"run {run.run_id} may have gone on: {why}")
    return told


def _away(name: str, last_ns: int | None) -> str:
    when = f"since {_utc(last_ns)}" if last_ns is not None else "ever"
    return f"host {name} has not been heard of {when}"


def _utc(at_ns: int) -> str:
    return f"{datetime.fromtimestamp(at_ns / SECOND_NS, UTC):%Y-%m-%d %H:%M:%S} UTC"
