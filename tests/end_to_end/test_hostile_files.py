"""Files that wait for the hasher with bad intent: bounded time, and never the digest of another."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest
from blake3 import blake3
from tests.asking import Whence, settled
from tests.scope import Scope

pytestmark = pytest.mark.kernel

SWAPS = """\
echo told > fifo; rm fifo; mkfifo fifo
echo told > link; rm link; ln -s /etc/passwd link
echo told > device; rm device; mknod device c 1 5
echo told > kernel; rm kernel; ln -s /proc/kcore kernel
truncate -s 1T sparse
"""
# A file system whose server never answers, and a program that waits in it until it is killed.
SILENT = """\
import ctypes, os, signal, time
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x20000) == 0
assert libc.mount(b'none', b'/', None, (1 << 18) | (1 << 14), None) == 0
os.mkdir('silent')
server = os.open('/dev/fuse', os.O_RDWR)
words = f'fd={server},rootmode=40000,user_id=0,group_id=0'.encode()
assert libc.mount(b'fuse', b'silent', b'fuse', 0, words) == 0
child = os.fork()
if child == 0:
    open('silent/data').read()
time.sleep(0.5)
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
open('beside', 'w').write('told\\n')
assert libc.umount2(b'silent', 2) == 0
"""
TOLD = f"blake3:{blake3(b'told' + bytes([10])).hexdigest()}"


def states(whence: Whence, place: Path) -> dict[str, tuple[str, str | None]]:
    """Return (state, digest) of what was written in a place, by name."""
    rows = whence.sql(
        "SELECT path, artifact_state, artifact FROM file_accesses"  # noqa: S608 - ours
        f" WHERE op IN ('write', 'truncate') AND path LIKE '{place}/%'"
    )
    return {
        row["path"].rpartition("/")[2]: (row["artifact_state"], row["artifact"]) for row in rows
    }


def test_what_is_swapped_in_is_never_read_as_the_file(
    scope: Scope, whence: Whence, place: Path
) -> None:
    """FIFO, link, device, kernel memory in the place of a file; a terabyte of nothing."""
    scope.run(["sh", "-e", "-c", SWAPS], place)
    scope.run(["sh", "-c", "echo told > after"], place)
    expected = ("verified", TOLD)
    assert settled(lambda: states(whence, place).get("after"), expected) == expected
    found = states(whence, place)

    assert {"fifo", "link", "device", "kernel", "sparse"} <= found.keys()
    assert {digest for _, digest in found.values()} <= {TOLD, None}
    assert found["sparse"][1] is None
    assert "verified" not in {state for state, digest in found.values() if digest is None}


def test_a_file_that_grows_forever_holds_nothing_up(
    scope: Scope, whence: Whence, place: Path
) -> None:
    """While it grows others are read; when it rests its digest is that of what it holds then."""
    writer = scope.start(["sh", "-c", "while :; do echo more; sleep 0.001; done >> grows"], place)
    time.sleep(1)
    scope.run(["sh", "-c", "echo told > beside; cat grows > /dev/null"], place)
    expected = ("verified", TOLD)
    assert settled(lambda: states(whence, place).get("beside"), expected) == expected
    writer.terminate()
    writer.communicate(timeout=30)

    content = (place / "grows").read_bytes()
    expected = ("verified", f"blake3:{blake3(content).hexdigest()}")
    assert settled(lambda: states(whence, place).get("grows"), expected) == expected


def test_a_file_system_that_never_answers_holds_nothing_up(
    scope: Scope, whence: Whence, place: Path
) -> None:
    scope.run(["python3", "-c", SILENT], place)
    expected = {"beside": ("verified", TOLD)}

    assert settled(partial(states, whence, place), expected) == expected
