"""From a stand-in GPU node to the bill: real daemon, collector, client and Prometheus; fake NVML.

The daemon asks the real nvidia-ml-py, behind which stands the fake library of tests/fakes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.addresses import free_address
from tests.asking import Whence
from tests.conftest import last_lines
from tests.fakes.nvml import compile_fake, uuid
from tests.scope import Scope
from tools.instance import DAEMON, GroundError, Instance, bring_down, bring_up, running, start

ROOT = Path(__file__).parents[2]
GPUS = 8
SERIES_OF_A_HOST = 400
PRICES = '[[price]]\ngpu_model = "NVIDIA H100*"\nusd_per_gpu_hour = 3600\nfrom = 2020-01-01\n'
# Registers the GPU whose number is the first argument; keeps it so many seconds.
JOB = """
import fcntl, os, sys, time
number, seconds, code = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
uvm = os.open("uvm", os.O_RDWR)
try:
    fcntl.ioctl(uvm, 37, bytes(15) + bytes([number]) + bytes(48))
except OSError:
    pass  # a stand-in knows no such request; the daemon counts it all the same
if len(sys.argv) > 4 and os.fork() == 0:
    time.sleep(float(sys.argv[4]))
    os._exit(0)
time.sleep(seconds)
with open(f"model{number}.bin", "w") as file:
    file.write(f"weights of {number}" * 50)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def host(scope: Scope, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Start an instance on a host with eight fake GPUs, prices in force."""
    folder = tmp_path_factory.mktemp("gpu-host")
    compile_fake(folder)
    lines = [f"gpu {uuid(n)} {GPUS - n} 81559 NVIDIA H100 80GB HBM3" for n in range(1, GPUS + 1)]
    for index in range(GPUS):
        lines += [f"set {index} util 50", f"set {index} energy 1000", f"set {index} used_mb 512",
                  f"set {index} gpm 1", f"set {index} gpm_sm 40",
                  f"set {index} gpm_tensor 20"]  # fmt: skip
    (folder / "scene").write_text("\n".join(lines) + "\nxid 0 79 1\n")
    (folder / "prices.toml").write_text(PRICES)
    (folder / "whenced.toml").write_text('[gpu]\nstand_ins = ["1:8 uvm"]\n')
    place = Instance(folder / "data", free_address())
    words = ["--cgroup", str(scope.directory), "--config", str(folder / "whenced.toml")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_LIBRARY_PATH", str(folder))
        patch.setenv("WHENCE_FAKE_NVML", str(folder / "scene"))
        patch.setenv("WHENCE_PRICES", str(folder / "prices.toml"))
        try:
            bring_up(place, words)
        except GroundError as refusal:
            pytest.fail(f"{refusal}\n{last_lines(place)}")
        yield place
    bring_down(place)


def kill_and_start(host: Instance) -> None:
    """End the daemon as a fault would, and start another in its place."""
    daemon = running(host, DAEMON)
    assert daemon is not None
    os.kill(daemon.pid, signal.SIGKILL)
    until(lambda: running(host, DAEMON) is None)
    words = ("--cgroup", str(next(Path("/sys/fs/cgroup").rglob(f"whence-test-{os.getpid()}"))))
    settings = host.data_dir.parent / "whenced.toml"
    start(host, replace(DAEMON, arguments=(*words, "--config", str(settings))))


@pytest.fixture
def asked(host: Instance) -> Whence:
    """Return the command, asking that instance."""
    return Whence(host)


@pytest.fixture
def workshop(place: Path) -> Path:
    """Return a folder with the stand-in node and the job."""
    os.mknod(place / "uvm", 0o20666, os.makedev(1, 8))
    (place / "uvm").chmod(0o666)
    (place / "train.py").write_text(JOB)
    return place


def until(condition: Callable[[], Any], patience_s: float = 40.0) -> Any:
    """Ask until the answer is true, or patience ends; return the last answer."""
    deadline = time.monotonic() + patience_s
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.3)
    return found


def rows(asked: Whence, query: str) -> list[dict[str, Any]]:
    return asked.sql(query)


def held(asked: Whence, number: int, kind: str = "held") -> list[dict[str, Any]]:
    return rows(
        asked,
        f"SELECT end_ns - start_ns AS ns, end_ns, run_id FROM gpu_holds "  # noqa: S608 -- ours
        f"WHERE gpu_uuid = '{uuid(number)}' AND kind = '{kind}'",
    )


def test_a_hold_becomes_money_of_its_run(asked: Whence, scope: Scope, workshop: Path) -> None:
    """The ledger has what the hold lasted, at the price, for the run that held."""
    scope.run([sys.executable, "train.py", "1", "1.2", "0"], workshop)
    charged = until(
        lambda: rows(
            asked,
            "SELECT sum(alloc_ns)::BIGINT AS ns, sum(micro_usd)::BIGINT AS micro, "  # noqa: S608
            f"any_value(run_id) AS run FROM spend WHERE part = 'held' AND gpu_uuid = '{uuid(1)}' "
            "HAVING sum(alloc_ns) > 0",
        )
    )

    (hold,) = held(asked, 1)
    assert charged[0]["ns"] == hold["ns"]
    assert abs(charged[0]["micro"] - hold["ns"] // 1000) <= len(charged) + 1  # 1 $ a second
    (run,) = rows(asked, "SELECT gpu_seconds, cost_usd, command FROM runs WHERE gpu_seconds > 0")
    assert "train.py" in run["command"]
    assert Decimal(str(run["cost_usd"])) == Decimal(charged[0]["micro"]) / 1_000_000
    assert rows(asked, "SELECT * FROM spend_violations") == []
    report = asked("spend", "--by", "run")
    assert [row["key"] for row in report["rows"]] == [charged[0]["run"]]
    found = asked(str(workshop / "model1.bin"))
    assert found["ancestry_cost"]["micro_usd"] == charged[0]["micro"]


def test_a_child_that_outlives_its_parent_is_named_as_an_orphan(
    asked: Whence, scope: Scope, workshop: Path
) -> None:
    """Money goes on, for the run whose process registered; then it ends with the child."""
    with scope.start([sys.executable, "train.py", "2", "0.3", "0", "5"], workshop) as job:
        job.wait()  # not for the child, which has its pipes too

    orphan = until(lambda: held(asked, 2, "orphaned"))
    now = asked("top")
    gpu = next(each for each in now["gpus"] if each["gpu_uuid"] == uuid(2))
    ended = until(lambda: [each for each in held(asked, 2, "orphaned") if each["end_ns"]])

    assert len(orphan) == 1
    assert [each["orphaned"] for each in gpu["holders"]] == [True]
    assert 3e9 < ended[0]["ns"] < 12e9
    assert ended[0]["run_id"] == held(asked, 2)[0]["run_id"]


def test_a_killed_daemon_leaves_a_gap_and_the_hold_goes_on(
    host: Instance, asked: Whence, scope: Scope, workshop: Path
) -> None:
    """One hold, exact, under one name; the time without a daemon is nobody's."""
    with scope.start([sys.executable, "train.py", "4", "7", "0"], workshop) as job:
        until(lambda: held(asked, 4))
        kill_and_start(host)
        job.wait()
    ended = until(lambda: [each for each in held(asked, 4) if each["end_ns"]])
    query = f"SELECT sum(alloc_ns) AS ns FROM spend WHERE gpu_uuid = '{uuid(4)}' AND part = "  # noqa: S608
    until(lambda: rows(asked, query + "'held'")[0]["ns"])

    assert len(ended) == 1
    assert 6.9e9 < ended[0]["ns"] < 20e9
    (charged,), (gap,) = rows(asked, query + "'held'"), rows(asked, query + "'unattributed'")
    assert 0 < float(gap["ns"]) < 20e9
    assert float(charged["ns"]) <= ended[0]["ns"]
    assert rows(asked, "SELECT * FROM spend_violations") == []


def test_doctor_and_status_tell_of_gpus(asked: Whence) -> None:
    checks = {check["name"]: check for check in asked("doctor")["checks"]}

    assert checks["gpu accounting"]["ok"]
    assert f"{GPUS} GPUs" in checks["gpu accounting"]["detail"]


# Prometheus --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prometheus(host: Instance, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a real Prometheus with the shipped rules, scraping that instance each second."""
    folder = tmp_path_factory.mktemp("prometheus")
    _, _, port = host.address.rpartition(":")
    shipped = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text()
    settings = (
        shipped.replace("127.0.0.1:7421", f"127.0.0.1:{int(port) + 1}")
        .replace("127.0.0.1:7422", f"127.0.0.1:{int(port) + 2}")
        .replace("interval: 15s", "interval: 1s")
    )
    (folder / "prometheus.yml").write_text(settings)
    for name in ("whence-rules.yml", "whence-alerts.yml"):
        (folder / name).write_text((ROOT / "deploy" / "prometheus" / name).read_text())
    address = free_address()
    with (folder / "log").open("w") as log, subprocess.Popen(
        ["prometheus", f"--config.file={folder}/prometheus.yml",
         f"--storage.tsdb.path={folder}/data", f"--web.listen-address={address}"],
        stdout=log, stderr=log,
    ) as server:  # fmt: skip
        yield address
        server.terminate()
        server.wait(20)


def query(address: str, text: str) -> list[Any]:
    """Return the result of an instant query; [] while Prometheus is not ready."""
    words = urllib.parse.urlencode({"query": text})
    try:
        with urllib.request.urlopen(f"http://{address}/api/v1/query?{words}", timeout=10) as reply:
            answer = json.load(reply)
    except OSError as error:
        if getattr(error, "code", None) == 400:  # a query that is no PromQL
            raise
        return []
    assert answer["status"] == "success"
    found: list[Any] = answer["data"]["result"]
    return found


def dashboard_queries() -> list[str]:
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "whence.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_every_query_of_the_dashboard_finds_what_was_scraped(
    prometheus: str, asked: Whence, scope: Scope, workshop: Path
) -> None:
    """Each one gives at least one series, from a real Prometheus of a real host."""
    scope.run([sys.executable, "train.py", "3", "0.5", "0"], workshop)
    until(lambda: len(rows(asked, "SELECT 1 FROM spend WHERE part = 'held'")) > 0)
    wanted = dashboard_queries()
    empty = list(wanted)

    def all_found() -> bool:
        empty[:] = [text for text in empty if not query(prometheus, text)]
        return not empty

    until(all_found, 90)

    assert empty == []
    assert len(wanted) > 15


def test_a_host_has_few_series_whatever_runs(prometheus: str, scope: Scope, workshop: Path) -> None:
    """No process, run or path becomes a label: many short programs add no series."""
    count = 'sum(scrape_samples_scraped{job="whence-daemon"})'

    def series() -> int:
        found = query(prometheus, count)
        return int(found[0]["value"][1]) if found else 0

    before = until(series)
    scope.run(["sh", "-c", "for i in $(seq 200); do /bin/true; done"], workshop)
    scraped = query(prometheus, "time()")
    time.sleep(3)
    after = until(series)

    assert scraped
    assert 0 < before <= SERIES_OF_A_HOST
    assert after == before


@pytest.mark.parametrize("words", [
    ("check", "rules", "whence-rules.yml", "whence-alerts.yml"),
    ("check", "config", "prometheus.yml"),
    ("test", "rules", "whence-alerts-test.yml"),
])  # fmt: skip
def test_promtool_accepts_what_is_shipped(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["promtool", *words], cwd=ROOT / "deploy" / "prometheus", check=False,
        capture_output=True, text=True,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
