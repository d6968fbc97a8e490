"""Events of open files to intervals: attached, held, orphaned; across processes and restarts."""

from __future__ import annotations

import json
from itertools import count

from whenced.gpu_holds import ATTACHED, EVENT, FOUND, HELD, ORPHAN_NS, ORPHANED, RESTART, Holds
from whenced.gpu_record import GpuEvent, GpuKind, GpuRole, Holder

A, B = Holder(100, 1, 5), Holder(200, 2, 6)
NODE, UVM = 195 << 20 | 3, 508 << 20
LATER = 10 * ORPHAN_NS


def made() -> Holds:
    holds = Holds(count(1).__next__)
    holds.uuid_of = {NODE: "GPU-a"}
    return holds


def event(
    kind: int, at_ns: int, process: Holder = A, file: int = 1, role: int = GpuRole.UVM,
    uuid: str | None = None, late_ns: int = 0,
) -> GpuEvent:  # fmt: skip
    device = UVM if role == GpuRole.UVM else NODE
    return GpuEvent(kind, at_ns, file, 7, late_ns, process, uuid, device, role)


def shown(holds: Holds) -> list[tuple[int, int, int | None, str | None, int]]:
    """(kind, start, end, gpu, tgid) of what changed."""
    return [(s.kind, s.start_ns, s.end_ns, s.gpu, s.process.tgid) for s in holds.take()]


def opened_and_registered(holds: Holds) -> None:
    holds.on_events([event(GpuKind.OPENED, 10), event(GpuKind.REGISTERED, 20, uuid="GPU-a")])


def test_a_node_that_is_open_is_attached_and_no_more() -> None:
    holds = made()
    holds.on_events([event(GpuKind.OPENED, 10, role=GpuRole.DEVICE), event(GpuKind.RELEASED, 30)])

    assert shown(holds) == [(ATTACHED, 10, 30, "GPU-a", 100)]


def test_a_registration_is_held_until_the_last_release() -> None:
    holds = made()
    opened_and_registered(holds)
    holds.on_events([event(GpuKind.RELEASED, 90, late_ns=5)])

    (state,) = holds.take()

    assert (state.kind, state.start_ns, state.end_ns) == (HELD, 20, 90)
    assert (state.start_source, state.end_source, state.end_uncertainty_ns) == (EVENT, EVENT, 5)


def test_registering_again_is_the_same_hold_and_unregistering_ends_it() -> None:
    holds = made()
    opened_and_registered(holds)
    holds.on_events(
        [
            event(GpuKind.REGISTERED, 30, uuid="GPU-a"),
            event(GpuKind.REGISTERED, 31, uuid="GPU-b"),
            event(GpuKind.UNREGISTERED, 40, uuid="GPU-a"),
        ]
    )

    assert shown(holds) == [(HELD, 20, 40, "GPU-a", 100), (HELD, 31, None, "GPU-b", 100)]


def test_the_end_of_the_owner_is_no_end_of_the_hold_and_makes_an_orphan_in_time() -> None:
    holds = made()
    opened_and_registered(holds)
    holds.on_events([event(GpuKind.ENDED, 50)])
    holds.find_orphans(50 + ORPHAN_NS - 1)
    before = shown(holds)
    holds.find_orphans(50 + ORPHAN_NS)
    named = shown(holds)
    holds.on_events([event(GpuKind.RELEASED, LATER)])

    assert before == [(HELD, 20, None, "GPU-a", 100)]
    assert named == [(HELD, 20, 50, "GPU-a", 100), (ORPHANED, 50, None, "GPU-a", 100)]
    assert shown(holds) == [(ORPHANED, 50, LATER, "GPU-a", 100)]


def test_a_process_that_frees_what_it_had_while_ending_leaves_no_orphan() -> None:
    holds = made()
    opened_and_registered(holds)
    holds.on_events([event(GpuKind.ENDED, 50), event(GpuKind.RELEASED, 60)])
    holds.find_orphans(LATER)

    assert shown(holds) == [(HELD, 20, 60, "GPU-a", 100)]


def test_the_end_of_a_child_is_nothing_to_its_parents_hold() -> None:
    holds = made()
    opened_and_registered(holds)
    holds.on_events([event(GpuKind.ENDED, 50, process=B)])
    holds.find_orphans(LATER)

    assert shown(holds) == [(HELD, 20, None, "GPU-a", 100)]


def test_a_walk_tells_holders_and_finds_what_nobody_saw_open() -> None:
    holds = made()
    opened_and_registered(holds)
    late = event(GpuKind.SEEN, 40, process=B, file=9, role=GpuRole.DEVICE)
    holds.on_walk([event(GpuKind.SEEN, 40), event(GpuKind.SEEN, 40, process=B), late], 40)

    states = {state.kind: state for state in holds.take()}

    assert states[HELD].holders == 2
    assert (states[ATTACHED].start_source, states[ATTACHED].start_uncertainty_ns) == (FOUND, 38)
    assert holds.corrections == 1


def test_nvml_names_the_gpu_of_a_file_that_was_open_before() -> None:
    holds = made()
    holds.on_walk([event(GpuKind.SEEN, 40)], 40)
    holds.on_compute_processes("GPU-b", [999], 50)
    holds.on_compute_processes("GPU-b", [100], 60)

    (state,) = holds.take()

    assert (state.kind, state.gpu, state.start_ns, state.start_source) == (
        HELD, "GPU-b", 60, FOUND,
    )  # fmt: skip
    assert state.start_uncertainty_ns == 59


def test_a_restart_goes_on_with_what_is_open_and_ends_what_is_not() -> None:
    before = made()
    opened_and_registered(before)
    before.on_events(
        [
            event(GpuKind.OPENED, 11, file=2),
            event(GpuKind.REGISTERED, 21, file=2, uuid="GPU-b"),
        ]
    )
    names = {state.gpu: state.hold for state in before.take()}
    saved = json.loads(json.dumps(before.saved("boot", 100)))

    after = Holds(count(50).__next__)
    after.restore(saved, "boot")
    seen = event(GpuKind.SEEN, 130)._replace(since_ns=130)
    after.on_walk([seen], 130)
    lost = after.take()
    after.on_events([event(GpuKind.RELEASED, 200)._replace(since_ns=130)])
    ended = after.take()

    by_gpu = {state.gpu: state for state in (*lost, *ended)}
    assert {gpu: state.hold for gpu, state in by_gpu.items()} == names
    assert (by_gpu["GPU-a"].start_ns, by_gpu["GPU-a"].end_ns) == (20, 200)
    assert (by_gpu["GPU-b"].end_ns, by_gpu["GPU-b"].end_source) == (100, RESTART)
    assert by_gpu["GPU-b"].end_uncertainty_ns == 30


def test_what_another_boot_saved_is_nothing_to_us() -> None:
    before = made()
    opened_and_registered(before)
    after = made()
    after.restore(before.saved("boot", 100), "another boot")
    after.on_walk([], 130)

    assert after.take() == []
