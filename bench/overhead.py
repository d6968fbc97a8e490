"""What whence and its peers add to the same jobs, side by side, and what whence itself uses.

Only measures. One run holds them all: round after round, each job bare and under each observer in
turn. `python -m bench.overhead --help` runs a part and keeps the rest of the last figures.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.loads import LOADS, Load, prepare
from bench.peers import Peer, PeerError, install
from bench.report import Section
from bench.stage import Stage, cpu_s, memory_folder, resident_bytes, stage

ROOT = Path(__file__).resolve().parent.parent
KEEP = ROOT / ".build" / "bench"
FIGURES = KEEP / "overhead.json"
ROUNDS = 5
#: Of the whole run. What is left is shared by the jobs that are left: when a job has had its part,
#: peers that have a figure get no further round.
WHOLE_S = 20 * 60.0
#: A peer that took so long is not asked again, and is stopped at the second figure.
SLOW_S, LIMIT_S = 10.0, 60.0
_GRACE_S = 5.0
BARE, WHENCE = "nothing", "whence"
_WATCH_S = 0.05
#: From so many rounds on a pair's ratio says more than the machine's mood.
_MANY = 3


@dataclass(slots=True)
class Run:
    """One run of one job: wall and CPU seconds of the job, and what the daemon needed."""

    wall_s: float
    cpu_s: float
    stopped: bool = False
    daemon: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Measured:
    """Runs of one job by observer, and who could not run it, with the reason."""

    runs: dict[str, list[Run]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def wants(self, peer: Peer, end_s: float) -> bool:
        """Whether a peer gets a further round: none that is slow or failed, or late."""
        if peer.missing or peer.name in self.refused:
            return False
        runs = self.runs.get(peer.name, [])
        if runs and time.monotonic() > end_s:
            return False
        return not any(each.wall_s > SLOW_S for each in runs)


_ALONE = Peer(BARE, lambda command, _: list(command))


def measure() -> Section:
    """Run everything; return the table of all jobs and observers."""
    FIGURES.unlink(missing_ok=True)
    run(tuple(load.name for load in LOADS), None, ROUNDS)
    return section()


def run(loads: Sequence[str], peers: Sequence[str] | None, rounds: int) -> None:
    """Measure some jobs under some observers (None: all), and keep the figures on disk."""
    KEEP.mkdir(parents=True, exist_ok=True)
    end_s = time.monotonic() + WHOLE_S
    found = install(KEEP / "peers") if peers is None or peers else []
    wanted = [each for each in found if peers is None or each.name in peers]
    chosen = [load for load in LOADS if load.name in loads]
    with memory_folder() as below, stage(below) as whence:
        whence.settle()
        prepare(whence.place, KEEP / "sources")
        for at, load in enumerate(chosen):
            now_s = time.monotonic()
            part_s = (end_s - now_s) / (len(chosen) - at)
            print(f"{load.name}: {end_s - now_s:.0f} s are left", file=sys.stderr, flush=True)
            _keep(load, _measured(whence, load, wanted, rounds, now_s + part_s), wanted)


def _measured(
    whence: Stage, load: Load, peers: Sequence[Peer], rounds: int, end_s: float
) -> Measured:
    """Round after round, each observer right after a bare run, so that a ratio has a pair."""
    found = Measured()
    whence.stop_daemon()
    _one(whence.place, load, _ALONE)  # caches are warm now
    for number in range(rounds):
        _pair(found, WHENCE, load, whence, lambda: _watched(whence, load))
        for peer in peers:
            if not found.wants(peer, end_s):
                continue
            _pair(found, peer.name, load, whence, lambda peer=peer: _one(whence.place, load, peer))  # type: ignore[misc] # mypy cannot infer a default
        print(f"  round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    whence.start_daemon()
    return found


def _pair(found: Measured, name: str, load: Load, whence: Stage, under: Callable[[], Run]) -> None:
    bare = _one(whence.place, load, _ALONE)
    try:
        seen = under()
    except PeerError as failure:
        print(f"    {name}: {failure}", file=sys.stderr, flush=True)
        found.refused[name] = str(failure)
        return
    print(f"    {name}: {bare.wall_s:.2f} s, {seen.wall_s:.2f} s", file=sys.stderr, flush=True)
    found.runs.setdefault(f"{BARE}/{name}", []).append(bare)
    found.runs.setdefault(name, []).append(seen)


def _one(place: Path, load: Load, peer: Peer) -> Run:
    load.before(place)
    with peer.around(place):
        return _timed(peer.command(load.command, place), place)


def _timed(command: list[str], place: Path) -> Run:
    environment = {"PATH": "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin", "HOME": str(place),
                   "LANG": "C.UTF-8", "DO_NOT_TRACK": "1"}  # fmt: skip
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with (place / "said.txt").open("w") as said:
        process = subprocess.Popen(
            command, cwd=place, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=said, start_new_session=True,
        )  # fmt: skip
        try:
            status: int | None = process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            status = None
            _stop(process)
    wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if status:
        words = (place / "said.txt").read_text(errors="replace").strip().splitlines()[-1:]
        raise PeerError(": ".join([f"ended with status {status}", *words]))
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall_s, used_s, status is None)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a job and all of its session, and an observer that holds on to it."""
    for signal_name in ("-TERM", "-KILL"):
        subprocess.run(["kill", signal_name, "--", f"-{process.pid}"], check=False)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
            return


def _watched(whence: Stage, load: Load) -> Run:
    """Run the job in the captured group, with what daemon and hasher used until all is told."""
    load.before(whence.place)
    whence.start_daemon()
    whence.settle()
    before = whence.status()["counters"]
    pids = {who: pid for who, pid in whence.pids().items() if who != "collector"}
    used_s = {who: cpu_s(pid) for who, pid in pids.items()}
    with _peak(pids["daemon"]) as peak:
        run = _timed(["sh", "-c", f"echo $$ > {whence.scope.directory}/cgroup.procs;"
                      ' exec "$@"', "sh", *load.command], whence.place)  # fmt: skip
        whence.settle()
    after = whence.status()["counters"]
    run.daemon = {
        "touches": after["touch"]["attempted"] - before["touch"]["attempted"],
        "lost": sum(after[name]["lost"] - before[name]["lost"] for name in after),
        "daemon_s": cpu_s(pids["daemon"]) - used_s["daemon"],
        "hasher_s": cpu_s(pids["hasher"]) - used_s["hasher"],
        "resident_bytes": peak[0],
    }
    whence.stop_daemon()
    return run


@contextmanager
def _peak(pid: int) -> Iterator[list[int]]:
    """Give the greatest resident memory of a process while the block runs."""
    peak, done = [resident_bytes(pid)], threading.Event()

    def watch() -> None:
        while not done.wait(_WATCH_S):
            peak[0] = max(peak[0], resident_bytes(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


# --- figures ------------------------------------------------------------------------------------


def _keep(load: Load, found: Measured, peers: Sequence[Peer]) -> None:
    figures = _figures()
    kept = figures.setdefault(load.name, {})
    for name in found.refused:
        kept.pop(name, None)
        kept.pop(f"{BARE}/{name}", None)
    kept["refused"] = {
        **{n: why for n, why in kept.get("refused", {}).items() if n not in found.runs},
        **found.refused,
    }
    for name, of_name in found.runs.items():
        kept[name] = [
            {"wall_s": r.wall_s, "cpu_s": r.cpu_s, "stopped": r.stopped, "daemon": r.daemon}
            for r in of_name
        ]
    for peer in peers:
        if peer.missing:
            figures.setdefault("missing", {})[peer.name] = peer.missing
        else:
            figures.get("missing", {}).pop(peer.name, None)
    FIGURES.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def _figures() -> dict[str, Any]:
    if not FIGURES.exists():
        return {}
    known: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))
    return known


def section() -> Section:
    """Return the figures that were kept as a table, what whence used as a second one below it."""
    figures = _figures()
    missing: dict[str, str] = figures.pop("missing", {})
    names = [WHENCE, *_peer_names(figures)]
    rows = [
        (load.title, _bare(figures[load.name]), *(_ratio(figures[load.name], n) for n in names))
        for load in LOADS
        if load.name in figures
    ]
    remarks = [_own_table(figures)]
    remarks += [f"{name} could not be had: {why}." for name, why in missing.items()]
    return Section(
        "overhead",
        "the same jobs under each observer",
        "≤ x 1.02 for a build, ≤ x 1.01 for an unpacking, < x 1.15 for the shell job",
        "Wall time of the job, divided by that of a bare run right before it: the median of all"
        " rounds, with the least and the greatest. In brackets the same for the CPU time of the"
        " job and of what runs in its tree (strace, ReproZip and roar do, the others do not): that"
        f" depends less on what else the machine does. {ROUNDS} rounds; the whole run is held to"
        f" about {WHOLE_S / 60:.0f} minutes, of which each job has a part: when that is used up,"
        " only whence gets further rounds. A peer that takes more than"
        f" {SLOW_S:.0f} s has one round, compared with the median of all bare ones, and is stopped"
        f" after {LIMIT_S:.0f} s. Jobs work on a file system in memory, where only calls cost:"
        " waiting for a disk would hide what is compared here. The collector runs on the same two"
        " cores. A cell that begins with *none* gives the reason, in the observer's own words.",
        ("job", "bare", *names),
        tuple(rows),
        tuple(remarks),
    )


def _peer_names(figures: dict[str, Any]) -> list[str]:
    names: dict[str, None] = {}
    for of_load in figures.values():
        names |= dict.fromkeys(of_load) | dict.fromkeys(of_load.get("refused", {}))
    return [name for name in names if "/" not in name and name not in (WHENCE, "refused")]


def _bare(of_load: dict[str, Any]) -> str:
    return f"{_middle(of_load)['wall_s']:.2f} s"


def _ratio(of_load: dict[str, Any], name: str) -> str:
    """Of many rounds the median of pairs; one round is compared with all bare ones."""
    if name in of_load.get("refused", {}):
        return f"none: {of_load['refused'][name]}"
    if name not in of_load:
        return "-"
    seen, bare = of_load[name], of_load[f"{BARE}/{name}"]
    if len(seen) < _MANY:
        bare = [_middle(of_load)] * len(seen)
    walls, cpus = (
        [one[what] / other[what] for one, other in zip(seen, bare, strict=True)]
        for what in ("wall_s", "cpu_s")
    )
    said = f"x {statistics.median(walls):.2f}"
    if any(run["stopped"] for run in seen):
        return f"> {said[2:]}, stopped"
    if len(walls) > 1:
        said += f" ({min(walls):.2f} to {max(walls):.2f})"
    return said + f" [{statistics.median(cpus):.2f}]"


def _middle(of_load: dict[str, Any]) -> dict[str, float]:
    """Medians of all bare runs of a job."""
    runs = [run for name in of_load if name.startswith(BARE) for run in of_load[name]]
    return {what: statistics.median(run[what] for run in runs) for what in ("wall_s", "cpu_s")}


def _own_table(figures: dict[str, Any]) -> str:
    lines = [
        "What whence used, until everything was hashed and told:",
        "",
        "| job | ns added to each operation | first touches | a second | lost | daemon CPU"
        " | for each touch | hasher CPU | daemon memory, greatest |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    seen = [load for load in LOADS if WHENCE in figures.get(load.name, {})]
    lines += [_own_row(load, figures[load.name]) for load in seen]
    return "\n".join(lines)


def _own_row(load: Load, of_load: dict[str, Any]) -> str:
    runs, bare = of_load[WHENCE], of_load[f"{BARE}/{WHENCE}"]
    middle = {
        key: statistics.median(run["daemon"][key] for run in runs) for key in runs[0]["daemon"]
    }
    added_s = min(r["cpu_s"] for r in runs) - min(r["cpu_s"] for r in bare)
    each = f"{added_s / load.calls * 1e9:,.0f}" if load.calls else "-"
    wall_s = statistics.median(run["wall_s"] for run in runs)
    touches = middle["touches"]
    cells = (
        load.title, each, f"{touches:,.0f}", f"{touches / wall_s:,.0f}", f"{middle['lost']:,.0f}",
        f"{middle['daemon_s']:.2f} s", f"{middle['daemon_s'] / max(1, touches) * 1e6:,.0f} us",
        f"{middle['hasher_s']:.2f} s",
        f"{max(run['daemon']['resident_bytes'] for run in runs) / 1e6:.0f} MB",
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def main() -> int:
    """Measure the part that was asked for; return the exit status."""
    parser = argparse.ArgumentParser(prog="bench.overhead", description=__doc__)
    parser.add_argument("--loads", default=",".join(load.name for load in LOADS))
    parser.add_argument("--peers", help="names separated by commas; empty: only bare and whence")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = parser.parse_args()
    peers = None if chosen.peers is None else [p for p in chosen.peers.split(",") if p]
    run(chosen.loads.split(","), peers, chosen.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
