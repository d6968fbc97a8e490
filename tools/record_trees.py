"""Record process trees of real programs, with what is one run, into tests/recorded/trees.

Root, once, by hand: ``python -m tools.record_trees [NAME…]``. Each scenario runs in a control
group of its own; the truth is told by the scenario itself, in a variable that its programs inherit,
and is kept apart from what the assembly of runs is given. Paths and names are made neutral.
"""
# ruff: noqa: E501 -- programs of several lines, written as one text each

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from tests.kernel.witness import watching
from tests.scope import Scope

from whenced import environment
from whenced.rows import EndRow, EnvironmentRow, ProcessKey, Row, StartRow, StreamRow

ROOT: Final = Path(__file__).resolve().parent.parent
TARGET: Final = ROOT / "tests" / "recorded" / "trees"
TRUTH: Final = "WHENCE_TRUTH"
#: Packages that some scenarios need and that are no dependency of ours: pip install --target.
SITE: Final = Path("/opt/whence-recording")

FILES: Final = {
    "a.py": "import subprocess, sys\nsubprocess.run(['true'])\nprint(open('raw.csv').read()[:9])\n",
    "b.py": "import sys\nprint(sum(1 for _ in sys.stdin) if '-' in sys.argv else 'b')\n",
    "pool.py": (
        "import multiprocessing as m, os\n"
        "def f(x): return os.getpid() and x\n"
        "if __name__ == '__main__':\n"
        "    with m.get_context('spawn').Pool(2) as pool: print(pool.map(f, range(4)))\n"
    ),
    "list": "a.py\nb.py\n",
    "raw.csv": "".join(f"{n},{n * n}\n" for n in range(50)),
    "train.sh": (
        "set -e\n"
        f"{TRUTH}=prepare python3 a.py > prepared.txt\n"
        f"export {TRUTH}=count\ncat raw.csv | sort | python3 b.py - > count.txt\n"
        f"export {TRUTH}=pool\npython3 pool.py\n"
        f"export {TRUTH}=last\nnice -n 1 env X=1 python3 a.py | cat > last.txt\n"
    ),
    "Makefile": (
        "all: one two three\n"
        f"one: export {TRUTH}=one\none:\n\tpython3 a.py > one\n"
        f"two: export {TRUTH}=two\ntwo:\n\tpython3 a.py > two.tmp && mv two.tmp two\n"
        f"three: export {TRUTH}=three\nthree: one\n\tcat one | sort > three\n"
    ),
    "build.ninja": (
        f"rule run\n  command = export {TRUTH}=$out; python3 a.py > $out && cat $out > $out.copy\n"
        "build n1: run raw.csv\nbuild n2: run raw.csv\n"
    ),
    "sweep.py": (
        "import os, subprocess, sys\n"
        "for rate in ('1', '2'):\n"
        f"    env = os.environ | {{'{TRUTH}': 'trial' + rate}}\n"
        "    subprocess.run([sys.executable, 'a.py', '--rate', rate], env=env, check=True)\n"
    ),
    "torchrun": (
        "#!/usr/bin/python3\nimport os, subprocess, sys\n"
        "for attempt in ('0', '1'):\n"
        "    ranks = [subprocess.Popen([sys.executable, '-u', *sys.argv[1:]], env=os.environ | {\n"
        "        'RANK': str(r), 'LOCAL_RANK': str(r), 'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1',\n"
        "        'MASTER_PORT': '29500', 'TORCHELASTIC_RUN_ID': 'none',\n"
        "        'TORCHELASTIC_RESTART_COUNT': attempt}) for r in range(2)]\n"
        "    [rank.wait() for rank in ranks]\n"
    ),
    "claude": (
        "#!/usr/bin/python3\nimport os, subprocess\n"
        "for n, text in enumerate(('python3 a.py', 'export WHENCE_TRUTH=c1; cat raw.csv | sort > s; export WHENCE_TRUTH=c2; python3 b.py; true', 'sh x.sh')):\n"
        f"    env = os.environ | {{'CLAUDECODE': '1', '{TRUTH}': 'call%d' % n}}\n"
        "    subprocess.run(['/bin/bash', '-c', text], env=env, check=True)\n"
    ),
    "x.sh": f"{TRUTH}=inner python3 a.py\n",
    "jupyter-lab": (
        "#!/usr/bin/python3\nimport os\nfrom jupyter_client.manager import KernelManager\n"
        f'CELL = \'import os, subprocess; e = os.environ; e["{TRUTH}"] += "step"; subprocess.run(["python3", "a.py"])\'\n'
        f"for name in ('k1', 'k2'):\n    env = os.environ | {{'{TRUTH}': name}}\n"
        "    manager = KernelManager(kernel_name='python3')\n    manager.start_kernel(env=env)\n"
        "    client = manager.blocking_client(); client.start_channels(); client.wait_for_ready(60)\n"
        "    client.execute_interactive(CELL, timeout=60)\n"
        "    manager.shutdown_kernel(now=False)\n"
    ),
    "flow.py": (
        "import luigi, os, subprocess, sys\n"
        "class Step(luigi.Task):\n    name = luigi.Parameter()\n"
        "    def output(self): return luigi.LocalTarget(self.name + '.out')\n"
        "    def run(self):\n"
        f"        env = os.environ | {{'{TRUTH}': self.name}}\n"
        "        text = subprocess.run([sys.executable, 'a.py'], env=env, capture_output=True).stdout\n"
        "        with self.output().open('w') as out: out.write(text.decode())\n"
        "class All(luigi.WrapperTask):\n    def requires(self): return [Step('l1'), Step('l2')]\n"
    ),
    "typed.sh": (
        f"{TRUTH}=t1 python3 a.py\n"
        f"{TRUTH}=t2 cat raw.csv | {TRUTH}=t2 sort | {TRUTH}=t2 python3 b.py -\n"
        f"{TRUTH}=t3 nohup timeout 20 python3 pool.py > pool.out 2>&1 &\n"
        f"wait\n{TRUTH}=t4 bash train.sh\n{TRUTH}=t5 make -s -f /dev/null -q; {TRUTH}=t6 python3 sweep.py\n"
        "exit\n"
    ),
    "wrapped.sh": (
        f"{TRUTH}=w1 setsid -w nice env A=1 python3 a.py\n"
        f"export {TRUTH}=w2\nxargs -n1 -P2 python3 < list\n"
        f"export {TRUTH}=w3\ntimeout 20 stdbuf -oL taskset -c 0 python3 pool.py\n"
        f"export {TRUTH}=w4\nunshare --mount --pid --fork python3 a.py\n"
    ),
}

SCENARIOS: Final[dict[str, str]] = {
    "typed": "script -qec 'bash --norc --noprofile -i' typescript < typed.sh > /dev/null",
    "script": "bash train.sh > out.txt",
    "make": "make -j2 all",
    "ninja": "ninja",
    "sweep": "python3 sweep.py",
    "ranks": f"env {TRUTH}=ranks ./torchrun a.py",
    "agent": "./claude",
    "wrapped": "bash wrapped.sh",
    "notebook": "./jupyter-lab",
    "luigi": "python3 -m luigi --module flow All --local-scheduler --workers 1",
}


def main(names: list[str]) -> int:
    """Record the named scenarios, or all."""
    environment.is_allowed = _allowing_truth(environment.is_allowed)  # of this process alone
    for name in names or SCENARIOS:
        record(name, SCENARIOS[name])
    return 0


def _allowing_truth(allowed: Any) -> Any:
    return lambda name: name == TRUTH or allowed(name)


def record(name: str, command: str) -> None:
    """Run one scenario and write what was seen, and the truth."""
    scope = Scope.create(f"whence-record-{os.getpid()}")
    place = Path(tempfile.mkdtemp(prefix="whence-record-")).resolve()
    try:
        for file, content in FILES.items():
            (place / file).write_text(content)
            (place / file).chmod(0o755 if content.startswith("#!") else 0o644)
        variables = {
            "PATH": f"{place}:{SITE}/bin:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": f"{SITE}:{place}",
            "HOME": str(place),
            TRUTH: "scenario",
        }
        with watching(scope) as witness:
            witness.forget()
            process = scope.start(["/bin/sh", "-c", f"exec {command}"], place, None, variables)
            seen = witness.follow(process, place)
        document = neutral(json.dumps(tree_of(seen.rows), indent=1), place, scope)
    finally:
        scope.remove()
        shutil.rmtree(place)
    TARGET.mkdir(parents=True, exist_ok=True)
    (TARGET / f"{name}.json").write_text(document + "\n")
    print(name, len(json.loads(document)["starts"]), "programs")


def tree_of(rows: Iterable[Row]) -> dict[str, Any]:
    """Return starts, ends, pipes and environments as they were told, and the truth by process."""
    starts = [row for row in rows if isinstance(row, StartRow)]
    truth = labels(starts, [row for row in rows if isinstance(row, EnvironmentRow)])
    return {
        "starts": [_start(row) for row in starts],
        "ends": [[*row.process, *row[1:]] for row in rows if isinstance(row, EndRow)],
        "streams": [
            [*row.process, row.device, row.inode, row.write, row.at_ns]
            for row in rows
            if isinstance(row, StreamRow)
        ],
        "environments": [
            [*row.process, [pair for pair in row.variables if _is_kept(pair[0])]]
            for row in rows
            if isinstance(row, EnvironmentRow)
        ],
        "truth": {f"{tgid}:{start_ns}": label for (tgid, start_ns), label in truth.items()},
    }


def _is_kept(name: str) -> bool:
    return name not in (TRUTH, "PATH", "PYTHONPATH", "LANG", "TMPDIR") and name in _NAMES


_NAMES: Final = frozenset(
    "RANK LOCAL_RANK WORLD_SIZE MASTER_ADDR MASTER_PORT TORCHELASTIC_RUN_ID MAKELEVEL CLAUDECODE "  # noqa: SIM905 - fits
    "TORCHELASTIC_RESTART_COUNT".split()
)


def labels(
    starts: list[StartRow], environments: list[EnvironmentRow]
) -> dict[tuple[int, int], str]:
    """Return the truth of each process: the label of its last program.

    A shell that sets the label in its own text bears it too.
    """
    own = {row.process: dict(row.variables).get(TRUTH) for row in environments}
    parent = {row.process: row.parent for row in starts}
    arguments = {row.process: " ".join(row.arguments) for row in starts}

    def of(key: ProcessKey) -> str:
        if key in arguments and (
            found := re.search(rf"/bin/sh -c export {TRUTH}=(\w+);", arguments[key])
        ):
            return found[1]
        if own.get(key) is not None:
            return str(own[key])
        before = key._replace(image=key.image - 1) if key.image else parent.get(key)
        return of(before) if before is not None and before in parent else "scenario"

    newest = {row.process[:2]: row.process for row in sorted(starts, key=lambda row: row.process)}
    # What hosts a terminal is no work: each is one for itself.
    return {
        (key.tgid, key.start_ns): f"host {key.tgid}" if of(key) == "scenario" else of(key)
        for key in newest.values()
    }


def _start(row: StartRow) -> dict[str, Any]:
    kept = row._asdict()
    del kept["exe_file"]
    return kept | {"user": "ada", "uid": 1000, "login_uid": 1000}


def neutral(text: str, place: Path, scope: Scope) -> str:
    """Return the text without this machine's places."""
    group = scope.directory.name
    for found, told in ((place, "/work"), (SITE.resolve(), "/opt/site"), (SITE, "/opt/site")):
        text = text.replace(str(found), told)
    return re.sub(rf'"/[^"]*{re.escape(group)}"', '"/user.slice/session-1.scope"', text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
