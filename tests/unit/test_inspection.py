"""Answers about files: packages by their records, names of a cache, containers by their state."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sqlite3
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from whenced.container_state import ContainerState, container_id, container_state
from whenced.hash_messages import DONE, InspectReply, InspectRequest
from whenced.hub_names import HubName, hub_name, is_hub, sha256_of_blob
from whenced.inspection import Inspector
from whenced.python_packages import Owner, PythonPackages
from whenced.system_packages import SystemPackages

BLOB, OTHER, REVISION = "ab" * 32, "cd" * 20, "12" * 20


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


# --- wheels ----------------------------------------------------------------------------------

SITE = "opt/app/lib/python3.11/site-packages"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A distribution of two files that was installed a minute ago."""
    site = tmp_path / SITE
    source, data = b"X = 1\n", b"1,2\n"
    write(site / "torch/nn/linear.py", source)
    write(site / "torch/data.csv", data)
    write(
        site / "torch-2.9.1.dist-info/METADATA",
        # What follows the headers is a page that its authors wrote.
        "Metadata-Version: 2.1\nName: torch\nVersion: 2.9.1\n\nName: Other\nVersion: 2015.10\n",
    )
    record = f"torch/nn/linear.py,sha256={digest(source)},{len(source)}\n"
    record += f"torch/data.csv,sha256={digest(data)},{len(data)}\ntorch-2.9.1.dist-info/RECORD,,\n"
    write(site / "torch-2.9.1.dist-info/RECORD", record)
    minute_ago = time.time() - 60
    for path in site.rglob("*"):
        os.utime(path, (minute_ago, minute_ago))
    return site


def of_torch(tmp_path: Path, *, modified: bool = False) -> Owner:
    record = (tmp_path / SITE / "torch-2.9.1.dist-info/RECORD").read_bytes()
    return Owner("pypi", "torch", "2.9.1", f"/{SITE}", hashlib.sha256(record).hexdigest(), modified)


@pytest.mark.parametrize(
    "name", ["torch/nn/linear.py", "torch/data.csv", "torch/nn/__pycache__/linear.cpython-311.pyc"]
)
def test_a_recorded_file_belongs_to_its_wheel(
    root: int, wheel: Path, tmp_path: Path, name: str
) -> None:
    found = PythonPackages().owner(root, f"/{SITE}/{name}".encode())

    assert found == of_torch(tmp_path)


@pytest.mark.parametrize("content", ["X = 2\n", "X = 11\n"])
def test_an_edited_file_is_told_as_modified(
    root: int, wheel: Path, tmp_path: Path, content: str
) -> None:
    write(wheel / "torch/nn/linear.py", content)

    found = PythonPackages().owner(root, f"/{SITE}/torch/nn/linear.py".encode())

    assert found == of_torch(tmp_path, modified=True)


def test_a_touched_file_with_the_same_bytes_is_as_installed(
    root: int, wheel: Path, tmp_path: Path
) -> None:
    (wheel / "torch/nn/linear.py").touch()

    found = PythonPackages().owner(root, f"/{SITE}/torch/nn/linear.py".encode())

    assert found == of_torch(tmp_path)


def test_a_file_that_nobody_installed_belongs_to_nobody(root: int, wheel: Path) -> None:
    write(wheel / "mine.py", "")

    assert PythonPackages().owner(root, f"/{SITE}/mine.py".encode()) is None
    assert PythonPackages().owner(root, b"/home/ada/mine.py") is None


def test_reading_what_is_installed_is_no_use_of_it(root: int, wheel: Path) -> None:
    """Whoever looks for plug-ins reads the description of every package."""
    for name in ("RECORD", "entry_points.txt"):
        path = f"/{SITE}/torch-2.9.1.dist-info/{name}".encode()
        assert PythonPackages().owner(root, path) is None


def test_an_upgrade_is_noticed(root: int, wheel: Path) -> None:
    packages = PythonPackages()
    path = f"/{SITE}/torch/data.csv".encode()
    before = packages.owner(root, path)
    (wheel / "torch-2.9.1.dist-info").rename(wheel / "torch-2.10.0.dist-info")
    write(wheel / "torch-2.10.0.dist-info/METADATA", "Name: torch\nVersion: 2.10.0\n")
    after = packages.owner(root, path)

    assert [each and each.version for each in (before, after)] == ["2.9.1", "2.10.0"]


def test_metadata_of_setuptools_names_its_top_level(root: int, tmp_path: Path) -> None:
    site = tmp_path / "usr/lib/python3/dist-packages"
    write(site / "PyYAML-6.0.egg-info/top_level.txt", "_yaml\nyaml\n")

    found = PythonPackages().owner(root, b"/usr/lib/python3/dist-packages/yaml/loader.py")

    assert found == Owner("pypi", "PyYAML", "6.0", "/usr/lib/python3/dist-packages", "", False)


def test_a_link_to_another_record_is_not_followed(root: int, wheel: Path, tmp_path: Path) -> None:
    record = wheel / "torch-2.9.1.dist-info/RECORD"
    record.rename(tmp_path / "elsewhere")
    record.symlink_to(tmp_path / "elsewhere")

    assert PythonPackages().owner(root, f"/{SITE}/torch/data.csv".encode()) is None


# --- packages of the system ------------------------------------------------------------------


def test_a_library_belongs_to_its_debian_package(root: int, tmp_path: Path) -> None:
    """Whether /lib is a folder or a link to /usr/lib."""
    dpkg = tmp_path / "var/lib/dpkg"
    write(dpkg / "status", "Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\n\n")
    write(dpkg / "info/libc6:amd64.list", "/.\n/lib/x86_64-linux-gnu/libc.so.6\n/usr/share/doc/x\n")
    packages = SystemPackages()
    paths = (b"/usr/lib/x86_64-linux-gnu/libc.so.6", b"/lib/x86_64-linux-gnu/libc.so.6")

    expected = Owner("deb", "libc6", "2.36-9", "", "", False)
    assert [packages.owner(root, path) for path in paths] == [expected, expected]
    assert packages.owner(root, b"/usr/lib/libother.so.1") is None


def test_this_machine_knows_who_owns_its_shell() -> None:
    here = os.open("/", os.O_PATH)
    shell = os.path.realpath("/bin/dash")
    owner = SystemPackages().owner(here, shell.encode())
    os.close(here)
    told = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${Version}", "dash"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip

    assert owner is not None
    assert f"{owner.name} {owner.version}" == told


def rpm_header(**tags: list[bytes] | list[int]) -> bytes:
    """Write a header as rpm does: counts, index, store."""
    numbers = {"name": 1000, "version": 1001, "release": 1002}
    numbers |= {"folders": 1118, "bases": 1117, "indexes": 1116}
    index, store = b"", b""
    for name, values in tags.items():
        texts = [each for each in values if isinstance(each, bytes)]
        whole = [each for each in values if isinstance(each, int)]
        kind = 4 if whole else 8 if name in ("folders", "bases") else 6
        store += b"\0" * (-len(store) % 4)
        index += struct.pack(">IIII", numbers[name], kind, len(store), len(values))
        store += struct.pack(f">{len(whole)}I", *whole) if whole else b"\0".join(texts) + b"\0"
    return struct.pack(">II", len(tags), len(store)) + index + store


def test_a_library_belongs_to_its_rpm(root: int, tmp_path: Path) -> None:
    database = write(tmp_path / "var/lib/rpm/rpmdb.sqlite", b"")
    header = rpm_header(
        name=[b"glibc"], version=[b"2.39"], release=[b"6.el10"],
        folders=[b"/lib64/", b"/usr/share/"], bases=[b"libc.so.6", b"x"], indexes=[0, 1],
    )  # fmt: skip
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)")
        connection.execute("INSERT INTO Packages (blob) VALUES (?), (?)", (header, b"\0\xff" * 9))

    found = SystemPackages().owner(root, b"/usr/lib64/libc.so.6")

    assert found == Owner("rpm", "glibc", "2.39-6.el10", "", "", False)


def test_a_library_of_an_environment_belongs_to_its_conda_package(
    root: int, tmp_path: Path
) -> None:
    meta = tmp_path / "opt/conda/envs/ml/conda-meta"
    write(meta / "history", "")
    told = {"name": "mkl", "version": "2024.2", "files": ["lib/libmkl_rt.so.2", "share/x"]}
    write(meta / "mkl-2024.2-0.json", json.dumps(told))
    write(meta / "broken-1.json", "{")

    found = SystemPackages().owner(root, b"/opt/conda/envs/ml/lib/libmkl_rt.so.2")

    assert found == Owner("conda", "mkl", "2024.2", "/opt/conda/envs/ml", "", False)


# --- the hub ---------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A model in two revisions, of which main names the first."""
    folder = tmp_path / "hub/models--meta-llama--Llama-3.2-1B"
    write(folder / f"blobs/{BLOB}", b"weights")
    write(folder / f"blobs/{OTHER}", b"{}")
    write(folder / "refs/main", REVISION)
    for revision in (REVISION, "34" * 20):
        for name, blob in (("model.safetensors", BLOB), ("sub/config.json", OTHER)):
            link = folder / "snapshots" / revision / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(f"../../blobs/{blob}")
    return folder


@pytest.mark.parametrize(
    ("blob", "name"), [(BLOB, "model.safetensors"), (OTHER, "sub/config.json")]
)
def test_a_blob_is_called_by_repository_revision_and_file(
    root: int, hub: Path, tmp_path: Path, blob: str, name: str
) -> None:
    path = f"/{hub.relative_to(tmp_path)}/blobs/{blob}".encode()

    assert hub_name(root, path) == HubName(
        "model", "meta-llama/Llama-3.2-1B", REVISION, "main", name
    )
    assert is_hub(path)


def test_a_file_in_a_snapshot_names_its_revision(root: int, hub: Path, tmp_path: Path) -> None:
    """Caches on file systems without links hold the files there."""
    path = f"/{hub.relative_to(tmp_path)}/snapshots/{'34' * 20}/a/b.bin".encode()

    expected = HubName("model", "meta-llama/Llama-3.2-1B", "34" * 20, "", "a/b.bin")
    assert hub_name(root, path) == expected


def test_a_blob_without_a_snapshot_has_a_repository_all_the_same(
    root: int, hub: Path, tmp_path: Path
) -> None:
    path = f"/{hub.relative_to(tmp_path)}/blobs/{'ee' * 32}".encode()

    assert hub_name(root, path) == HubName("model", "meta-llama/Llama-3.2-1B", "", "", "")


def test_only_a_sha256_name_asserts_content() -> None:
    folder = b"/hub/datasets--org--set/blobs/"

    assert sha256_of_blob(folder + BLOB.encode()) == bytes.fromhex(BLOB)
    assert sha256_of_blob(folder + OTHER.encode()) is None
    assert sha256_of_blob(folder + BLOB.encode() + b".incomplete") is None
    assert sha256_of_blob(b"/elsewhere/" + BLOB.encode()) is None


# --- containers ------------------------------------------------------------------------------

IDENTITY = "0f" * 32


@pytest.mark.parametrize(
    "cgroup",
    [
        f"/system.slice/docker-{IDENTITY}.scope",
        f"/docker/{IDENTITY}",
        f"/machine.slice/libpod-{IDENTITY}.scope/container",
        f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{IDENTITY}.scope",
        f"/kubepods/burstable/pod1/{IDENTITY}",
        f"/kubepods.slice/crio-{IDENTITY}.scope",
    ],
)
def test_a_control_group_names_its_container(cgroup: str) -> None:
    assert container_id(cgroup) == IDENTITY


def test_no_container_is_none() -> None:
    assert container_id("/user.slice/user-1000.slice/session-1.scope") is None


def test_docker_tells_its_image(root: int, tmp_path: Path) -> None:
    told = {"Name": "/train", "Image": f"sha256:{'a1' * 32}", "Config": {"Image": "pytorch:2.9"}}
    write(tmp_path / f"var/lib/docker/containers/{IDENTITY}/config.v2.json", json.dumps(told))

    expected = ContainerState("docker", "train", "pytorch:2.9", f"sha256:{'a1' * 32}")
    assert container_state(root, IDENTITY) == expected


def test_podman_tells_its_image(root: int, tmp_path: Path) -> None:
    storage = tmp_path / "var/lib/containers/storage"
    metadata = json.dumps({"image-name": "docker.io/library/x:1"})
    listed = [{"id": IDENTITY, "names": ["calm"], "image": "b2" * 32, "metadata": metadata}]
    write(storage / "overlay-containers/containers.json", json.dumps(listed))
    images = [{"id": "b2" * 32, "digest": f"sha256:{'c3' * 32}"}]
    write(storage / "overlay-images/images.json", json.dumps(images))

    expected = ContainerState("podman", "calm", "docker.io/library/x:1", f"sha256:{'c3' * 32}")
    assert container_state(root, IDENTITY) == expected


def test_containerd_tells_its_image(root: int, tmp_path: Path) -> None:
    image = f"registry/x@sha256:{'d4' * 32}"
    notes = {"io.kubernetes.cri.image-name": image, "io.kubernetes.cri.container-name": "main"}
    folder = tmp_path / "run/containerd/io.containerd.runtime.v2.task/k8s.io" / IDENTITY
    write(folder / "config.json", json.dumps({"annotations": notes}))

    expected = ContainerState("containerd", "main", image, f"sha256:{'d4' * 32}")
    assert container_state(root, IDENTITY) == expected


@pytest.mark.parametrize("garbage", ["", "[]", "{", '{"Config": 3}', "null"])
def test_state_that_makes_no_sense_is_no_answer(root: int, tmp_path: Path, garbage: str) -> None:
    write(tmp_path / f"var/lib/docker/containers/{IDENTITY}/config.v2.json", garbage)
    write(tmp_path / "var/lib/containers/storage/overlay-containers/containers.json", garbage)

    assert container_state(root, IDENTITY) is None
    assert container_state(root, "../../etc") is None


# --- one request -----------------------------------------------------------------------------


def test_an_answer_names_places_and_ends() -> None:
    beats: list[int] = []
    paths = b"/nowhere/lib.so\0" + os.path.realpath("/bin/dash").encode() + b"\0relative"
    replies = list(Inspector().answer(InspectRequest(7, "system", paths), lambda: beats.append(1)))

    assert [(each.ticket, each.place) for each in replies] == [(7, 1), (7, DONE)]
    assert replies[0].texts[:2] == ("deb", "dash")
    assert len(beats) == 3


def test_a_process_that_is_gone_has_no_answer() -> None:
    replies = list(Inspector().answer(InspectRequest(7, "code", b"/x", 2**22 - 1), lambda: None))

    assert replies == [InspectReply(7, DONE)]
