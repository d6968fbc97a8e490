"""Obeys orders to end the runs of a request whose budget is spent, where this host allows it.

Acts only on processes that this daemon captured itself, held by pidfd, and never on init, on
whence or on what whence runs below. A thread of its own, which is there only while an order is.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Final, TypeAlias

from whence_proto.v1 import ingest_pb2
from whenced import pidfd, process_files
from whenced.end_course import LAST, Course, Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from whenced.processes import Processes

log: Final = logging.getLogger(__name__)

STEP_S: Final = 0.2
ORDERS_MOST: Final = 1_000
# A program that forks while it is ended: again at once, so that it does not get away.
ROUNDS: Final = 20
REFUSED_HERE: Final = (
    "this host ends no run: its administrator has not set enforce = true under [policy] in "
    "/etc/whence/whenced.toml"
)

STUCK: Final = "what is left hangs in the kernel, and ends when that lets it"
NOT_CAPTURED: Final = "what is left is not captured by this daemon, and is left alone"

Key: TypeAlias = tuple[int, int]


class EndDesk:
    """Takes orders from the uplink's thread; `tell` is given each report."""

    def __init__(
        self,
        processes: Processes,
        boot_id: str,
        tell: Callable[[ingest_pb2.EndReport], None],
        *,
        allowed: bool,
        clock: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
    ) -> None:
        self._processes, self._boot_id, self._tell = processes, boot_id, tell
        self._allowed, self._clock = allowed, clock
        self._lock = threading.Lock()
        self._courses: dict[str, Course] = {}
        self._roots: dict[str, set[Key]] = {}
        self._last: dict[str, ingest_pb2.EndReport] = {}
        self._thread: threading.Thread | None = None

    def take(self, order: ingest_pb2.EndOrder) -> None:
        """Begin an order, or tell again how far it is; returns at once."""
        with self._lock:
            known = order.order_id in self._last
            if not known and not self._begin(order):
                return
            self._roots[order.order_id] |= {(each.pid, each.start_ns) for each in order.processes}
            if known and order.order_id in self._last:
                self._tell(self._last[order.order_id])
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="orders", daemon=True)
                self._thread.start()

    def _begin(self, order: ingest_pb2.EndOrder) -> bool:
        if len(self._last) >= ORDERS_MOST:
            self._forget_oldest()
        course = Course.of(order, self._clock())
        self._courses[order.order_id], self._roots[order.order_id] = course, set()
        if order.boot_id != self._boot_id:
            self._report(course, Phase.ENDED, 0, 0, "the host was started anew since")
            return False
        if not self._allowed:
            log.warning("not obeyed: %s (%s)", order.order_id, order.reason)
            self._report(course, Phase.REFUSED, 0, 0, REFUSED_HERE)
            return False
        log.warning("ordered to end %s: %s", order.order_id, order.reason)
        self._last[order.order_id] = ingest_pb2.EndReport(
            order_id=order.order_id, phase=str(course.phase), at_unix_ns=time.time_ns()
        )
        return True

    def _forget_oldest(self) -> None:
        for name in [name for name, course in self._courses.items() if course.phase in LAST]:
            del self._courses[name], self._roots[name], self._last[name]
            return

    def _run(self) -> None:
        while True:
            with self._lock:
                for course in list(self._courses.values()):
                    if course.phase not in LAST:
                        self._step(course)
                if all(course.phase in LAST for course in self._courses.values()):
                    self._thread = None
                    return
            time.sleep(STEP_S)

    def _step(self, course: Course) -> None:
        now_ns = self._clock()
        alive = self._alive(course)
        phase = course.due(now_ns, len(alive) or self._unknown(course))
        if phase is not None:
            course.enter(phase, now_ns)
            sent = self._act(course, alive)
            left = len(self._alive(course))
            self._report(course, phase, sent, left, self._words(course, sent))
        elif course.phase is Phase.KILL:
            self._act(course, alive)
            if course.is_stuck(now_ns):
                text = STUCK if alive else NOT_CAPTURED
                self._report(course, Phase.KILL, 0, len(alive), text)

    def _unknown(self, course: Course) -> int:
        """Return how many processes of the order live that capture does not know (yet)."""
        return sum(_is_there(*key) for key in self._roots[course.order_id])

    def _alive(self, course: Course) -> list[Key]:
        """Return who of the run lives and may be signalled."""
        spared = _own()
        return [
            key
            for key in self._processes.living_below(self._roots[course.order_id])
            if key[0] not in spared and _is_there(*key)
        ]

    def _act(self, course: Course, alive: list[Key]) -> int:
        if course.phase is Phase.CHECKPOINT:
            return self._ask(course, alive)
        if course.phase is Phase.TERMINATE:
            return _signal_all(alive, signal.SIGTERM)
        if course.phase is not Phase.KILL:
            return 0
        sent, seen = 0, set[Key]()
        for _ in range(ROUNDS):
            new = [key for key in self._alive(course) if key not in seen]
            if not new:
                break
            sent, seen = sent + _signal_all(new, signal.SIGKILL), seen | set(new)
        return sent

    def _ask(self, course: Course, alive: list[Key]) -> int:
        number = signal_of(course.checkpoint_signal)
        if number is None:
            return 0
        return _signal_all([key for key in alive if pidfd.catches(key[0], number)], number)

    def _words(self, course: Course, sent: int) -> str:
        if course.phase is Phase.CHECKPOINT and course.checkpoint_signal and not sent:
            return f"no process of the run catches {course.checkpoint_signal}: none was sent it"
        return ""

    def _report(self, course: Course, phase: Phase, sent: int, left: int, text: str) -> None:
        course.phase = phase
        report = ingest_pb2.EndReport(
            order_id=course.order_id, phase=phase.value, signalled=sent, left=left, text=text,
            at_unix_ns=time.time_ns(),
        )  # fmt: skip
        self._last[course.order_id] = report
        log.warning("%s: %s, %d signalled, %d left %s", course.order_id, phase, sent, left, text)
        self._tell(report)


def signal_of(name: str) -> signal.Signals | None:
    """Return a signal by its name; None for one that there is not, or that cannot be caught."""
    number = getattr(signal.Signals, name, None)
    if number in (signal.SIGKILL, signal.SIGSTOP):
        return None
    return number if isinstance(number, signal.Signals) else None


def _own() -> set[int]:
    """Return ids that are never signalled: init, this daemon and what it runs below."""
    found, pid = {0, 1}, os.getpid()
    while pid > 1 and pid not in found:
        found.add(pid)
        pid = process_files.parent_of(pid)
    return found


def _is_there(pid: int, start_ns: int) -> bool:
    with pidfd.held(pid, start_ns) as fd:
        return fd is not None


def _signal_all(keys: list[Key], number: signal.Signals) -> int:
    sent = 0
    for pid, start_ns in keys:
        with pidfd.held(pid, start_ns) as fd:
            sent += fd is not None and pidfd.send(fd, number)
    return sent
