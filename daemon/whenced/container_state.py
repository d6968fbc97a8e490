"""What a container is, by the files that its runtime keeps on the host. Reads them as data."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

from whenced.git_objects import read_small
from whenced.openat import names_in

_STATE_BYTES: Final = 4 << 20
_ID: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{5,127}\Z")
_IN_CGROUP: Final = re.compile(
    r"(?:docker|libpod|crio|cri-containerd|nerdctl)[-/:]([0-9a-f]{12,64})|"
    r"kubepods[^ ]*/([0-9a-f]{64})"
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


class ContainerState(NamedTuple):
    """A container; empty texts where the runtime does not tell."""

    runtime: str
    name: str
    image: str
    image_digest: str


def container_id(cgroup: str) -> str | None:
    """Return the id of the container that a control group belongs to, None for none."""
    found = _IN_CGROUP.search(cgroup)
    return (found[1] or found[2]) if found else None


def container_state(root: int, identity: str) -> ContainerState | None:
    """Return what the runtimes on the host `root` (a directory) say of a container."""
    if not _ID.match(identity):
        return None
    for read in (_docker, _podman, _containerd):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            found = read(root, identity)
            if found is not None:
                return found
    return None


def _json(root: int, path: str) -> Any:
    data = read_small(root, path.encode(), _STATE_BYTES)
    return None if data is None else json.loads(data)


def _docker(root: int, identity: str) -> ContainerState | None:
    """config.v2.json of dockerd."""
    told = _json(root, f"/var/lib/docker/containers/{identity}/config.v2.json")
    if told is None:
        return None
    name = str(told.get("Name", "")).removeprefix("/")
    return ContainerState("docker", name, str(told["Config"]["Image"]), _digest(told["Image"]))


def _podman(root: int, identity: str) -> ContainerState | None:
    """containers.json of containers/storage, which podman and CRI-O keep."""
    folder = "/var/lib/containers/storage"
    listed = _json(root, f"{folder}/overlay-containers/containers.json") or []
    told = next((each for each in listed if each.get("id", "").startswith(identity)), None)
    if told is None:
        return None
    metadata = json.loads(told.get("metadata") or "{}")
    runtime = "cri-o" if "pod-name" in metadata else "podman"
    name = (told.get("names") or [""])[0]
    image = metadata.get("image-name") or ""
    return ContainerState(
        runtime, str(name), str(image), _image_digest(root, folder, told["image"])
    )


def _image_digest(root: int, folder: str, image: str) -> str:
    for each in _json(root, f"{folder}/overlay-images/images.json") or []:
        if each.get("id") == image:
            return _digest(each.get("digest") or f"sha256:{image}")
    return _digest(f"sha256:{image}")


def _containerd(root: int, identity: str) -> ContainerState | None:
    """config.json of the bundle: the annotations of the container runtime interface."""
    folder = "/run/containerd/io.containerd.runtime.v2.task"
    for space in names_in(root, folder.encode()):
        path = PurePosixPath(folder) / space.decode() / identity / "config.json"
        told = _json(root, str(path))
        if told is None:
            continue
        notes = told.get("annotations") or {}
        image = str(notes.get("io.kubernetes.cri.image-name", ""))
        name = str(notes.get("io.kubernetes.cri.container-name", ""))
        return ContainerState("containerd", name, image, _digest(image))
    return None


def _digest(text: Any) -> str:
    found = _DIGEST.search(str(text))
    return found[0] if found else ""
