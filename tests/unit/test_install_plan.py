"""What an installation puts where, and how it acts on a tree: no systemd is needed for that."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from whence_install.__main__ import main, sources
from whence_install.host import Host, InstallError
from whence_install.plan import BIN, HARDENING, Link, Planned, make

COMMANDS = Path("/opt/whence/bin")


def planned(role: str) -> dict[str, Planned]:
    return {str(each.place): each for each in make(sources(), COMMANDS, role).files}


def test_a_host_gets_no_collector_and_a_collector_no_daemon() -> None:
    host, collector = planned("host"), planned("collector")

    assert "usr/lib/systemd/system/whence-collector.service" not in host
    assert [place for place in collector if "whenced.service" in place] == []
    assert set(planned("all")) == set(host) | set(collector)


@pytest.mark.parametrize("name", ["whenced", "whence-uplink", "whence-collector"])
def test_units_start_the_commands_of_the_environment(name: str) -> None:
    unit = planned("all")[f"usr/lib/systemd/system/{name}.service"].text

    assert f"ExecStart={COMMANDS}/{name} --config /etc/whence/" in unit
    assert BIN not in unit
    assert HARDENING not in unit


def test_what_loads_programs_has_no_mount_namespace_of_its_own() -> None:
    """Its paths would no longer be the host's: see the unit's own comment."""
    unit = planned("host")["usr/lib/systemd/system/whenced.service"].text
    makes_one = ("Protect", "Private", "ReadOnly", "ReadWrite", "Bind", "TemporaryFileSystem")

    assert [line for line in unit.splitlines() if line.startswith(makes_one)] == []


def test_only_settings_are_kept() -> None:
    kept = [place for place, each in planned("all").items() if each.keep]

    assert sorted(kept) == [
        f"etc/whence/{name}.toml" for name in ("collector", "prices", "uplink", "whenced")
    ]


def test_a_setting_that_stands_is_kept_and_ours_put_beside_it(tmp_path: Path) -> None:
    host, place = Host(tmp_path, is_live=False), PurePosixPath("etc/whence/a.toml")
    done = [host.put(Planned(place, text, keep=True)) for text in ("one", "one", "two")]

    assert done == ["new", "same", "kept"]
    assert (tmp_path / place).read_text() == "one"
    assert (tmp_path / "etc/whence/a.toml.default").read_text() == "two"


def test_what_is_ours_is_replaced(tmp_path: Path) -> None:
    host, place = Host(tmp_path, is_live=False), PurePosixPath("usr/lib/a")
    done = [host.put(Planned(place, text)) for text in ("one", "two")]

    assert done == ["new", "changed"]
    assert (tmp_path / place).read_text() == "two"


def test_a_command_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    host, place = Host(tmp_path, is_live=False), PurePosixPath("usr/local/bin/whence")
    host.link(Link(place, "/opt/a"))
    host.link(Link(place, "/opt/b"))
    followed = str((tmp_path / place).readlink())
    (tmp_path / place).unlink()
    (tmp_path / place).write_text("theirs")

    assert followed == "/opt/b"
    with pytest.raises(InstallError, match="is there and is not ours"):
        host.link(Link(place, "/opt/c"))


def test_a_program_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match=r"`sh -c echo why >&2; exit 3` failed: why"):
        Host(tmp_path, is_live=False).run(["sh", "-c", "echo why >&2; exit 3"])


def test_an_interpreter_that_is_closed_to_services_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = tmp_path / "root" / "bin"
    commands.mkdir(parents=True)
    for name in ("whence", "whenced", "whence-uplink"):
        (commands / name).touch()
    monkeypatch.setattr("whence_install.__main__.CLOSED", tmp_path.parts[1:2])
    monkeypatch.setattr("sys.executable", str(commands / "python"))
    code = main(["--role", "host", "--root", str(tmp_path / "image")])

    assert code == 2
    assert "is closed to the user of the services" in capsys.readouterr().err
    assert not (tmp_path / "image").exists()
