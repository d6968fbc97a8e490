"""What one call costs a program that is not watched, watched from afar, and watched.

Only measures. Builds a small C program with the machine's compiler.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
from pathlib import Path

from bench.report import Section, spread
from bench.stage import Stage, memory_folder, stage

ROUNDS = 7
# kind -> (what one turn of the loop does, turns)
LOOPS = {
    "pread": ("pread of 4 KiB that are cached", 1_000_000),
    "open": ("open, read 4 KiB, close", 100_000),
    "create": ("create, write 4 KiB, close, unlink", 10_000),
    "fork": ("fork, exec, exit, wait", 1_000),
}
_PROGRAM = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char block[4096];

static void turn(const char *kind, int fd, char **self)
{
	char *child[] = {self[0], NULL};
	pid_t pid;

	if (!strcmp(kind, "pread")) {
		pread(fd, block, sizeof(block), 0);
	} else if (!strcmp(kind, "open")) {
		int other = open("block", O_RDONLY);
		read(other, block, sizeof(block));
		close(other);
	} else if (!strcmp(kind, "create")) {
		int other = open("made", O_WRONLY | O_CREAT | O_TRUNC, 0600);
		write(other, block, sizeof(block));
		close(other);
		unlink("made");
	} else {
		pid = vfork();
		if (!pid) {
			execv(self[0], child);
			_exit(1);
		}
		waitpid(pid, NULL, 0);
	}
}

/* In user and kernel mode, the children's too: what else the machine runs is left out. */
static double cpu_ns(void)
{
	struct rusage own, children;

	getrusage(RUSAGE_SELF, &own);
	getrusage(RUSAGE_CHILDREN, &children);
	return (own.ru_utime.tv_sec + own.ru_stime.tv_sec + children.ru_utime.tv_sec +
		children.ru_stime.tv_sec) * 1e9 +
		(own.ru_utime.tv_usec + own.ru_stime.tv_usec + children.ru_utime.tv_usec +
		children.ru_stime.tv_usec) * 1e3;
}

int main(int count, char **words)
{
	long turns, fd;
	double began;

	if (count < 3)
		return 0; /* the child of a fork loop */
	turns = atol(words[2]);
	fd = open("block", O_RDONLY);
	began = cpu_ns();
	for (long at = 0; at < turns; at++)
		turn(words[1], fd, words);
	printf("%.1f\n", (cpu_ns() - began) / turns);
	return 0;
}
"""


def measure() -> Section:
    """Time each loop in each condition, round after round, in random order within a round."""
    with memory_folder() as below, stage(below) as whence:
        program = _build(whence.place)
        figures: dict[tuple[str, str], list[float]] = {}
        for _ in range(ROUNDS):
            _round(whence, program, figures)
        alone = _program_alone(whence, program)
    rows = [
        (
            name,
            spread(figures[kind, "none"], "ns"),
            *(_added(figures[kind, how], figures[kind, "none"]) for how in ("outside", "inside")),
        )
        for kind, (name, _) in LOOPS.items()
    ]
    return Section(
        "hot_path",
        "what a call costs",
        "at most 150 ns added to a cached read of 4 KiB",
        f"CPU time of a C program's loop and its children, {ROUNDS} rounds. Each round times every"
        " loop without the daemon (its programs detached), then outside and inside of the captured"
        " control group. What is added: the difference of the least figures of all rounds, which"
        " other work on the machine disturbs least, and in brackets that of the medians. Files are"
        " in memory. Every turn touches the same file, so the loops are about calls after the first"
        " touch, but for *create*, whose files are all new.",
        ("one turn", "without whence", "added outside the scope", "added inside"),
        tuple(rows),
        (alone,),
    )


def _program_alone(whence: Stage, program: str) -> str:
    """Tell how long our program itself runs, which leaves out what the tracepoint costs."""
    outside = [program, "pread", str(LOOPS["pread"][1])]
    spent: dict[str, list[float]] = {"outside": [], "inside": []}
    switch, pid = "kernel.bpf_stats_enabled", whence.pids()["daemon"]
    subprocess.run(["sysctl", "-qw", f"{switch}=1"], check=True)
    try:
        for _ in range(ROUNDS):
            for how, of_how in spent.items():
                before = _run_of_program(pid)
                if how == "inside":
                    whence.scope.run(outside, whence.place)
                else:
                    subprocess.run(outside, cwd=whence.place, check=True, capture_output=True)
                used_ns, runs = (b - a for a, b in zip(before, _run_of_program(pid), strict=True))
                of_how.append(used_ns / runs)
    finally:
        subprocess.run(["sysctl", "-qw", f"{switch}=0"], check=True)
    told = ", ".join(f"{how} {spread(of_how, 'ns', 1)}" for how, of_how in spent.items())
    return (
        f"Our program alone, for each call while the cached pread loops run (`{switch}`, which adds"
        f" two clock readings): {told}. The rest is what the tracepoint costs whoever uses it."
    )


def _run_of_program(pid: int) -> tuple[int, int]:
    """Return the time and the number of runs of a daemon's program on system calls."""
    shown = subprocess.run(
        ["bpftool", "-j", "prog", "show", "name", "on_call"], check=True, capture_output=True
    )
    found = json.loads(shown.stdout)
    named = {each["id"] for each in (found if isinstance(found, list) else [found])}
    for place in Path(f"/proc/{pid}/fdinfo").iterdir():
        lines = (line.partition(":") for line in place.read_text(encoding="ascii").splitlines())
        fields = {name: value.strip() for name, _, value in lines}
        if int(fields.get("prog_id", "0")) in named and "run_cnt" in fields:
            return int(fields["run_time_ns"]), int(fields["run_cnt"])
    raise SystemExit("bench: the daemon holds no program on system calls")


def _added(watched: list[float], bare: list[float]) -> str:
    least = min(watched) - min(bare)
    return f"{least:+,.0f} ns ({statistics.median(watched) - statistics.median(bare):+,.0f})"


def _build(place: Path) -> str:
    """Compile the program into the folder; return its path."""
    source, program = place / "turns.c", place / "turns"
    source.write_text(_PROGRAM, encoding="ascii")
    (place / "block").write_bytes(bytes(4096))
    subprocess.run(["cc", "-O2", "-w", "-o", program, source], check=True)
    return str(program)


def _round(whence: Stage, program: str, figures: dict[tuple[str, str], list[float]]) -> None:
    for how in ("none", "outside", "inside"):
        if how == "none":
            whence.stop_daemon()
        elif how == "outside":
            whence.start_daemon()
        for kind in random.sample(list(LOOPS), len(LOOPS)):
            command = [program, kind, str(LOOPS[kind][1])]
            if how == "inside":
                said = whence.scope.run(command, whence.place)
                whence.settle()
            else:
                said = subprocess.run(
                    command, cwd=whence.place, check=True, capture_output=True, text=True
                ).stdout
            figures.setdefault((kind, how), []).append(float(said))
