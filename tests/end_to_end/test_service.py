"""whence as services of a real systemd: install, observe, kill, reboot, upgrade, uninstall.

One machine for all, in this order, as an operator would go through them.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.machine import Machine, booted, build_wheel, group_of, put_wheel

UNITS = ("whence-collector.service", "whence-uplink.service", "whenced.service")
INSTALL = "/opt/whence/bin/whence-install"
MOST_EXPOSED = 2.5  # of systemd-analyze security
CAP_DAC_READ_SEARCH = 1 << 2  # include/uapi/linux/capability.h


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    wheel = build_wheel(tmp_path_factory.mktemp("wheel"))
    with booted("whence-service") as running:
        put_wheel(running, wheel)
        yield running


@pytest.fixture(scope="module")
def installed(machine: Machine) -> Machine:
    """Install, then narrow what is observed to the machine's own group, as settings are changed."""
    machine.run(INSTALL, "--no-start")
    settings = machine.root / "etc/whence/whenced.toml"
    scope = f'[scope]\ncgroups = ["{group_of(machine.root)}"]'
    settings.write_text(settings.read_text().replace("[scope]", scope))
    machine.run(INSTALL)
    return machine


def main_pid(machine: Machine, unit: str) -> str:
    return machine.run("systemctl", "show", "-P", "MainPID", unit).stdout.strip()


def active(machine: Machine) -> list[str]:
    said = machine.run("systemctl", "is-active", *UNITS, check=False).stdout
    return said.split()


def until(look: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + 60.0
    while not look():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.2)
    return True


def job(machine: Machine, name: str, content: str) -> str:
    """Make a file by copying another, as an observed job; return its path in the machine."""
    group = group_of(machine.root)
    made = f"/srv/{name}.model"
    machine.shell(
        f"printf %s '{content}' > /srv/{name}.raw; "
        f"(echo 0 > {group}/cgroup.procs; exec sh -c 'cat /srv/{name}.raw > {made}')"
    )
    return made


def origin(machine: Machine, path: str) -> list[str]:
    """Return the paths that a file was made from."""
    asked = machine.run("whence", path, "--json", check=False)
    document = json.loads(asked.stdout)
    productions = document.get("productions") or []
    return [edge["path"] for edge in productions[0]["inputs"]] if productions else []


def gaps(machine: Machine) -> int:
    """Return how many times nobody observed the machine."""
    asked = machine.run("whence", "sql", "SELECT count(*) AS n FROM unobserved_times", "--json")
    return int(json.loads(asked.stdout)[0]["n"])


def pins(machine: Machine) -> list[str]:
    """Return what the machine's capture has pinned; its BPF file system is this machine's."""
    place = machine.run("stat", "-c", "daemon-%D-", "/var/lib/whence/daemon").stdout.strip()
    return [path.name for path in Path("/sys/fs/bpf/whence").glob(f"{place}*")]


def status_of(machine: Machine, pid: str) -> dict[str, str]:
    lines = machine.run("cat", f"/proc/{pid}/status").stdout.splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_after_one_command_all_is_well(installed: Machine) -> None:
    """The services are ready, which the daemon says only when it saw its canary."""
    doctor = installed.run("whence", "doctor", "--json", check=False)

    assert active(installed) == ["active"] * 3
    assert json.loads(doctor.stdout)["ok"], doctor.stdout


@pytest.mark.parametrize("unit", UNITS[:2])
def test_what_talks_to_the_network_is_shut_in(installed: Machine, unit: str) -> None:
    said = installed.run("systemd-analyze", "security", "--no-pager", unit, check=False).stdout
    found = re.search(r"exposure level for \S+: ([0-9.]+)", said)

    assert found is not None
    assert float(found[1]) <= MOST_EXPOSED
    assert int(status_of(installed, main_pid(installed, unit))["CapEff"], 16) == 0


def test_what_loads_programs_opens_no_network(installed: Machine) -> None:
    pid = main_pid(installed, "whenced.service")
    own = set(
        installed.shell(f"ls -l /proc/{pid}/fd | sed -n 's/.*socket:.\\([0-9]*\\).*/\\1/p'").split()
    )
    network = installed.shell("cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6")
    inodes = {line.split()[9] for line in network.splitlines() if len(line.split()) > 9}

    assert own
    assert own & inodes == set()


def test_the_hasher_reads_every_file_and_can_do_nothing_else(installed: Machine) -> None:
    (hasher,) = installed.run("pgrep", "-f", "[w]henced.hasher").stdout.split()
    status = status_of(installed, hasher)
    user = installed.run("id", "-u", "whence").stdout.strip()

    assert int(status["CapEff"], 16) == CAP_DAC_READ_SEARCH
    assert set(status["Uid"].split()) == {user}


def test_a_job_is_observed_and_its_content_known(installed: Machine) -> None:
    made = job(installed, "first", "raw data one")

    assert until(lambda: origin(installed, made) == ["/srv/first.raw"])


def test_metrics_of_the_host_are_one_page(installed: Machine) -> None:
    """The daemon opens no port: the uplink serves its page."""
    fetch = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:7422/metrics').read().decode())"
    page = installed.run("/opt/whence/bin/python", "-c", fetch).stdout

    assert "whence_daemon_rows_total" in page
    assert "whence_uplink_daemon_up 1.0" in page


@pytest.mark.parametrize("unit", UNITS)
def test_a_killed_service_comes_back_and_work_goes_on(installed: Machine, unit: str) -> None:
    before = main_pid(installed, unit)
    installed.run("kill", "-9", before)
    back = until(
        lambda: (
            main_pid(installed, unit) not in ("0", before) and active(installed) == ["active"] * 3
        )
    )
    made = job(installed, f"after-{unit}", f"data after the death of {unit}")

    assert back
    assert until(lambda: origin(installed, made) == [f"/srv/after-{unit}.raw"])


def test_nothing_is_missing_of_the_time_in_which_no_daemon_ran(installed: Machine) -> None:
    """A stop and a start, as an upgrade makes them: the programs in the kernel went on."""
    installed.run("systemctl", "stop", "whenced.service")
    made = job(installed, "away", "data while no daemon ran")
    installed.run("systemctl", "start", "whenced.service")

    assert until(lambda: origin(installed, made) == ["/srv/away.raw"])
    assert gaps(installed) == 0


def test_after_a_reboot_it_captures_and_knows_what_it_knew(installed: Machine) -> None:
    installed.run("cp", "/srv/first.model", "/root/kept.model")
    installed.reboot()
    came_up = until(lambda: active(installed) == ["active"] * 3)
    made = job(installed, "rebooted", "data after the reboot")

    assert came_up
    assert until(lambda: origin(installed, made) == ["/srv/rebooted.raw"])
    assert origin(installed, "/root/kept.model") == ["/srv/first.raw"]


def test_an_upgrade_replaces_units_and_keeps_settings_and_data(installed: Machine) -> None:
    unit = installed.root / "usr/lib/systemd/system/whenced.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=60", "WatchdogSec=30"))
    known = gaps(installed)
    said = installed.run(INSTALL).stdout
    settings = (installed.root / "etc/whence/whenced.toml").read_text()
    made = job(installed, "upgraded", "data after the upgrade")

    assert until(lambda: origin(installed, made) == ["/srv/upgraded.raw"])
    assert (gaps(installed), len(pins(installed))) == (known, 1)
    assert "changed   /usr/lib/systemd/system/whenced.service" in said
    assert "kept      /etc/whence/whenced.toml (ours is beside it as .default)" in said
    assert group_of(installed.root) in settings
    assert "WatchdogSec=60" in unit.read_text()
    assert origin(installed, "/root/kept.model") == ["/srv/first.raw"]


def test_wrong_settings_are_one_sentence_and_start_nothing(installed: Machine) -> None:
    settings = installed.root / "etc/whence/collector.toml"
    good = settings.read_text()
    settings.write_text('adress = "0.0.0.0:1"\n' + good)
    refused = installed.run(INSTALL, check=False)
    settings.write_text(good)
    installed.run(INSTALL)

    assert refused.returncode == 2
    assert refused.stderr == (
        "whence-install: whence-collector.service does not start: whence-collector: "
        "/etc/whence/collector.toml line 1: unknown setting 'adress'; did you mean 'address'?\n"
    )


def test_uninstalled_it_is_gone_but_for_data_and_settings(installed: Machine) -> None:
    installed.run(INSTALL, "--uninstall")
    units = installed.run("systemctl", "list-unit-files", "whence*", "--no-legend", check=False)
    left = [
        str(path.relative_to(installed.root))
        for folder in ("usr/lib/systemd/system", "usr/lib/sysusers.d", "usr/local/bin")
        for path in (installed.root / folder).glob("whence*")
    ]

    assert (units.stdout.strip(), pins(installed)) == ("", [])
    assert left == []
    assert (installed.root / "var/lib/whence/collector/whence.duckdb").stat().st_size > 0
    assert (installed.root / "etc/whence/whenced.toml").is_file()
