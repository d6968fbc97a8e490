"""The short way for reads of what is known: the same rows as the long way, whatever comes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.daemon_samples import EPOCH, NOW_NS, OUR_MOUNTS, SECOND_NS, Daemon, walked

from whenced.event import Event, event_at, events
from whenced.hash_messages import HashReply, HashRequest
from whenced.record import RECORD, USE, USE_KEY, Flag, Kind, Part, Rows
from whenced.rows import AccessRow
from whenced.settled_reads import Drains
from whenced.text import TextStore

FOLDER = 7  # id of the directory's text
READS = st.tuples(
    st.just(Kind.READ), st.integers(1, 4), st.integers(100, 102), st.sampled_from((0, EPOCH + 1))
)
OTHERS = st.tuples(
    st.sampled_from((Kind.OPEN_WRITE, Kind.WRITE, Kind.MAP)),
    st.integers(1, 4), st.integers(100, 102), st.just(EPOCH + 1),
)  # fmt: skip
DRAINS = st.lists(st.lists(st.one_of(READS, READS, OTHERS), min_size=9, max_size=20), max_size=6)


def rows_of(drain: list[tuple[int, int, int, int]], at_ns: int) -> Rows:
    """Return records of (kind, inode, tgid, version), each of a file in one directory."""
    rows = np.zeros(len(drain), dtype=RECORD)
    for number, (row, (kind, inode, tgid, version)) in enumerate(zip(rows, drain, strict=True)):
        values: dict[str, Any] = {
            "kind": kind, "file_inode": inode, "file_device": 1, "process_tgid": tgid,
            "process_start_ns": 5, "process_exec_id": 1, "version": version, "size_bytes": inode,
            "mtime_ns": version, "mount_ns": OUR_MOUNTS, "text": FOLDER, "flags": Flag.LEAF,
            "name": b"file%d" % inode, "at_ns": at_ns + number, "fd": 3,
        }  # fmt: skip
        for name, value in values.items():
            row[name] = value
    return rows


def answered(daemon: Daemon, now_ns: int) -> None:
    """Hash everything that is asked for."""
    daemon.versions.tick(now_ns)
    requests, daemon.versions.jobs.requests = daemon.versions.jobs.requests, []
    for request in requests:
        assert isinstance(request, HashRequest)
        state = daemon.versions._states[daemon.versions.jobs._tickets[request.ticket][0]]
        number = 0 if request.version == 0 else state.number
        size_bytes = max(state.size_bytes, 0)
        reply = HashReply(request.ticket, "verified", bytes(32), b"", size_bytes, number)
        daemon.observer.on_reply(reply, now_ns)


def uses_of(drain: list[tuple[int, int, int, int]]) -> tuple[Rows, Rows]:
    """Return counts of one read of each process and file of a drain."""
    pairs = sorted({(tgid, inode) for _, inode, tgid, _ in drain})
    keys, uses = np.zeros(len(pairs), dtype=USE_KEY), np.zeros(len(pairs), dtype=USE)
    keys["process_tgid"], keys["file_inode"] = zip(*pairs, strict=True)
    keys["process_start_ns"], keys["process_exec_id"], keys["file_device"] = 5, 1, 1
    uses["read_ops"], uses["read_bytes"] = 1, 10
    return keys, uses


def told(drains: list[list[tuple[int, int, int, int]]], *, short: bool) -> Counter[Any]:
    """Return calls and bytes by process, version, path and kind, as rows tell them."""
    daemon, told_of = Daemon(), Counter[Any]()
    daemon.texts.add([(FOLDER, Part.DIRECTORY, 0, 0, walked(b"/data"))])
    for number, drain in enumerate(drains):
        at_ns = NOW_NS + number * SECOND_NS
        rows = rows_of(drain, at_ns)
        if short:
            Drains(daemon.observer, daemon.versions).handle(rows, daemon.texts)
        else:
            daemon.observer.handle(events(rows), daemon.texts)
        daemon.observer.handle_uses(*uses_of(drain), at_ns + 100)
        answered(daemon, at_ns + SECOND_NS // 2)
        for row in daemon.observer.take_rows():
            if isinstance(row, AccessRow):
                key = (row.process, row.file, row.path, row.op)
                told_of.update({(*key, "rows"): 1, (*key, "ops"): row.ops, (*key, "b"): row.bytes})
    return told_of


@settings(max_examples=60, deadline=None)
@given(DRAINS)
def test_the_short_way_tells_the_same(drains: list[list[tuple[int, int, int, int]]]) -> None:
    assert told(drains, short=True) == told(drains, short=False)


def test_a_read_of_what_is_known_makes_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten reads of one file by one process: the first is looked at, the others only told."""
    looked_at: list[bytes] = []
    daemon = Daemon()
    take = daemon.observer.take
    daemon.texts.add([(FOLDER, Part.DIRECTORY, 0, 0, walked(b"/data"))])

    def look(event: Event, texts: TextStore) -> None:
        looked_at.append(event.name)
        take(event, texts)

    monkeypatch.setattr(daemon.observer, "take", look)
    rows = rows_of([(Kind.READ, 1, 100, 0)] * 10, NOW_NS)
    Drains(daemon.observer, daemon.versions).handle(rows, daemon.texts)

    assert looked_at == [b"file1"]  # who it is was not known


def test_one_record_of_many_is_the_event_that_all_would_give() -> None:
    rows = rows_of([(Kind.READ, 1, 100, 0), (Kind.MAP, 2, 101, EPOCH)], NOW_NS)

    assert [event_at(rows.tobytes(), place) for place in (0, 1)] == list(events(rows))
