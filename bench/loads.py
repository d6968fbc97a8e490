"""The jobs that overhead is measured with: each the same command under every observer.

Builds what they need once, in a folder; a job cleans up what it made before it runs again.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SMALL_FILES = 50_000
PREADS = 1_000_000
SPAWNS = 1_000
TRANSACTIONS = 10_000
# Debian source packages: one is unpacked (4,500 files), one is built (35 files of C).
_UNPACKED, _BUILT = "git", "lua5.4"

_SHELL = """\
i=0
while [ $i -lt 2000 ]; do echo "$i" > d/f$i; i=$((i+1)); done
n=0
while [ $n -lt 20 ]; do cat d/f* > /dev/null; n=$((n+1)); done
"""
_REDIS = """\
redis-server --port 0 --unixsocket $PWD/redis.sock --save '' --daemonize no > redis.log &
while ! redis-cli -s $PWD/redis.sock ping > /dev/null 2>&1; do sleep 0.05; done
redis-benchmark -s $PWD/redis.sock -q -n 60000 -c 20 -t set,get > redis.txt
redis-cli -s $PWD/redis.sock shutdown nosave 2> /dev/null
wait
"""
_CALLS = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char block[4096];

static int opened(int number, int flags)
{
	char name[64];

	snprintf(name, sizeof(name), "mail/%d/%d", number % 10, number);
	return open(name, flags, 0600);
}

static void removed(int number)
{
	char name[64];

	snprintf(name, sizeof(name), "mail/%d/%d", number % 10, number);
	unlink(name);
}

/* As NetApp's PostMark: create or delete, then read or append, over a pool of files. */
static void postmark(long turns)
{
	int pool = turns / 4, next = pool, fd;

	for (int at = 0; at < pool; at++) {
		fd = opened(at, O_WRONLY | O_CREAT);
		write(fd, block, 500 + rand() % 3500);
		close(fd);
	}
	for (long left = turns; left; left--) {
		if (rand() % 2) {
			fd = opened(next++, O_WRONLY | O_CREAT);
			write(fd, block, 500 + rand() % 3500);
			close(fd);
		} else {
			removed(rand() % next);
		}
		fd = opened(rand() % next, rand() % 2 ? O_RDONLY : O_WRONLY | O_APPEND);
		if (fd < 0)
			continue;
		if (read(fd, block, sizeof(block)) < 0)
			write(fd, block, 500);
		close(fd);
	}
	while (next--)
		removed(next);
}

int main(int count, char **words)
{
	char *child[] = {"/bin/true", NULL};
	long turns = count > 2 ? atol(words[2]) : 0;
	int fd = open("block", O_RDONLY);
	pid_t pid;

	if (!strcmp(words[1], "postmark")) {
		postmark(turns);
	} else if (!strcmp(words[1], "spawn")) {
		for (; turns; turns--)
			if (!posix_spawn(&pid, child[0], NULL, NULL, child, NULL))
				waitpid(pid, NULL, 0);
	} else {
		for (; turns; turns--)
			pread(fd, block, sizeof(block), 0);
	}
	return 0;
}
"""
_TRAIN = """\
import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

digits = load_digits()
model = MLPClassifier((64,), max_iter=40, random_state=1)
model.fit(digits.data / 16.0, digits.target)
np.savez("model.npz", *model.coefs_)
"""


@dataclass(frozen=True, slots=True)
class Load:
    """One job: what to clean before it, and the command, run in the folder of all jobs."""

    name: str
    title: str
    command: tuple[str, ...]
    calls: int = 0  # what a cost for each is worked out with; 0: none
    before: Callable[[Path], None] = lambda _: None


def _emptied(*names: str) -> Callable[[Path], None]:
    def empty(place: Path) -> None:
        for name in names:
            shutil.rmtree(place / name, ignore_errors=True)
            (place / name).mkdir(parents=True)

    return empty


def _postmark_folders(place: Path) -> None:
    _emptied("mail")(place)
    for number in range(10):
        (place / "mail" / str(number)).mkdir()


def _no_socket(place: Path) -> None:
    (place / "redis.sock").unlink(missing_ok=True)  # of a server that was stopped


LOADS: tuple[Load, ...] = (
    Load(
        "shell", "shell: 2,000 files written, read 20 times by `cat`", ("sh", "shell.sh"),
        42_000, _emptied("d"),
    ),
    Load(
        "unpack", "unpack of git's source package (`tar xf`, xz)",
        ("tar", "xf", "git.tar.xz", "-C", "out"), before=_emptied("out"),
    ),
    Load(
        "build", "build of Lua 5.4 (`make -j2`)",
        ("make", "-s", "-B", "-j2", "-C", "lua/src", "posix"),
    ),
    Load(
        "read", f"read of {SMALL_FILES:,} small files",
        ("sh", "-c", "find small -type f -print0 | xargs -0 cat > /dev/null"), SMALL_FILES,
    ),
    Load(
        "postmark", f"PostMark: {TRANSACTIONS:,} transactions",
        ("./calls", "postmark", str(TRANSACTIONS)), TRANSACTIONS, _postmark_folders,
    ),
    Load(
        "redis", "redis-benchmark: 120,000 requests", ("sh", "redis.sh"), 120_000, _no_socket
    ),
    Load("spawn", f"fork + exec of {SPAWNS:,} programs", ("./calls", "spawn", str(SPAWNS)), SPAWNS),
    Load(
        "pread", f"{PREADS:,} cached preads of 4 KiB", ("./calls", "pread", str(PREADS)), PREADS
    ),
    Load("train", "training of a small network (scikit-learn)", (sys.executable, "train.py")),
)  # fmt: skip


def prepare(place: Path, keep: Path) -> None:
    """Put everything into the folder that the jobs need; ``keep`` holds what was downloaded.

    Raises CalledProcessError when a tool or a download fails.
    """
    for name, text in (("shell.sh", _SHELL), ("redis.sh", _REDIS), ("train.py", _TRAIN)):
        (place / name).write_text(text, encoding="ascii")
    (place / "calls.c").write_text(_CALLS, encoding="ascii")
    (place / "block").write_bytes(bytes(4096))
    subprocess.run(["cc", "-O2", "-w", "-o", place / "calls", place / "calls.c"], check=True)
    for number in range(SMALL_FILES):
        path = place / "small" / f"{number % 500:03d}" / f"{number:05d}"
        if number < SMALL_FILES // 100:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((b"%08d" % number) * (13 + number % 500))
    shutil.copy(_source(_UNPACKED, keep), place / "git.tar.xz")
    (place / "lua").mkdir()
    strip = ["--strip-components=1", "-C", str(place / "lua")]
    subprocess.run(["tar", "xf", _source(_BUILT, keep), *strip], check=True)


def _source(package: str, keep: Path) -> Path:
    """Fetch a Debian source package with lists of our own: the machine's may name no sources."""
    keep.mkdir(parents=True, exist_ok=True)
    if not list(keep.glob(f"{package}_*.dsc")):
        (keep / "lists").mkdir(exist_ok=True)
        sources = keep / "sources.list"
        sources.write_text("deb-src http://deb.debian.org/debian bookworm main\n")
        apt = [
            "apt-get", "-qq", "-o", f"Dir::Etc::sourcelist={sources}",
            "-o", "Dir::Etc::sourceparts=/dev/null", "-o", f"Dir::State::lists={keep}/lists",
        ]  # fmt: skip
        subprocess.run([*apt, "update"], check=True)
        download = [*apt, "--download-only", "source", package]
        subprocess.run(download, cwd=keep, check=True, stderr=subprocess.DEVNULL)
    (archive,) = keep.glob(f"{package}_*.orig.tar.*z*")
    return archive
