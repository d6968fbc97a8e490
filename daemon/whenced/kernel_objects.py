"""The programs, maps and links of one capture: loaded from the object file, or adopted from pins.

What is pinned in the BPF file system outlives this process: the programs go on, and the rings and
tables keep what they say. Knows no map's meaning (loader.py) and no settings but those it writes.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from whenced.libbpf import BpfError, Libbpf

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BPF_FS: Final = Path("/sys/fs/bpf")
# Journals are in memory, as what they belong to, and gone with the boot: they hold arguments and
# environments as programs had them, which may never reach a disk. The first that is memory.
_MEMORY: Final = (Path("/run"), Path("/dev/shm"))  # noqa: S108 -- closed to others, and looked at
_NOTES: Final = "whence-capture"
_KINDS: Final = ("maps", "programs", "links")
_SETTINGS: Final = ".rodata.config"


@dataclass(slots=True)
class KernelObjects:
    """Descriptors by name; closing them ends the capture unless it is pinned."""

    library: Libbpf
    maps: dict[str, int]
    programs: dict[str, int]
    links: dict[str, int] = field(default_factory=dict)
    _object: int = 0
    _attached: list[int] = field(default_factory=list)

    @classmethod
    def load(
        cls,
        library: Libbpf,
        file: Path,
        sizes: Mapping[str, int],
        settings: bytes,
        left_out: Iterable[str],
    ) -> Self:
        """Load an object file; raises BpfError."""
        handle = library.pointer(
            "cannot open the BPF programs", "bpf_object__open_file", os.fsencode(file), None
        )
        try:
            for name, size_bytes in sizes.items():
                found = _named(library, handle, "map", name)
                library.call("bpf_map__set_max_entries", found, size_bytes)
            _configure(library, handle, settings)
            for name in left_out:
                program = _named(library, handle, "program", name)
                library.call("bpf_program__set_autoload", program, False)
            library.call("bpf_object__load", handle)
        except BpfError:
            library.close_object(handle)
            raise
        maps = {
            name: library.call("bpf_map__fd", address) for address, name in library.maps(handle)
        }
        return cls(library, maps, dict(library.programs(handle)), _object=handle)

    @classmethod
    def adopt(cls, library: Libbpf, folder: Path) -> Self:
        """Take over what stands pinned in a folder; raises BpfError when it is not whole."""
        found: dict[str, dict[str, int]] = {kind: {} for kind in _KINDS}
        try:
            for kind in _KINDS:
                for pin in sorted((folder / kind).iterdir()):
                    found[kind][pin.name] = library.call("bpf_obj_get", os.fsencode(pin))
        except (OSError, BpfError) as error:
            for fds in found.values():
                for fd in fds.values():
                    os.close(fd)
            raise BpfError(f"{folder} cannot be adopted: {error}") from error
        return cls(library, found["maps"], found["programs"], found["links"])

    def map_fd(self, name: str) -> int:
        """Descriptor of a map; raises BpfError when there is none of that name."""
        try:
            return self.maps[_pin_name(name)] if not self._object else self.maps[name]
        except KeyError as error:
            raise BpfError(f"no BPF map {name}") from error

    def program_fd(self, name: str) -> int:
        """Descriptor of a program; raises BpfError when it was not loaded."""
        try:
            return self.programs[name]
        except KeyError as error:
            raise BpfError(f"no BPF program {name}") from error

    def attach(self, names: Iterable[str]) -> None:
        """Attach programs, which were loaded here; raises BpfError naming the first that fails."""
        for name in names:
            program = _named(self.library, self._object, "program", name)
            link = self.library.pointer(f"cannot attach {name}", "bpf_program__attach", program)
            self._attached.append(link)
            self.links[name] = self.library.call("bpf_link__fd", link)

    def pin(self, folder: Path) -> None:
        """Pin everything, whole or not at all: the capture outlives this process from now on.

        Raises BpfError or OSError; then nothing stands.
        """
        fresh = folder.with_name(f"new-{folder.name}")
        unpin(fresh)
        try:
            for kind, fds in zip(_KINDS, (self.maps, self.programs, self.links), strict=True):
                (fresh / kind).mkdir(parents=True, mode=0o700)
                for name, fd in fds.items():
                    place = os.fsencode(fresh / kind / _pin_name(name))
                    self.library.call("bpf_obj_pin", fd, place)
            fresh.rename(folder)
        except (OSError, BpfError):
            unpin(fresh)
            raise

    def close(self) -> None:
        """Let go: what is not pinned ends."""
        if self._object:
            for link in self._attached:
                self.library.destroy_link(link)
            self.library.close_object(self._object)
            return
        for fd in (*self.links.values(), *self.programs.values(), *self.maps.values()):
            os.close(fd)


@dataclass(frozen=True, slots=True)
class Pins:
    """Where the capture of one data directory stands pinned: INSTANCE, by what it consists of."""

    instance: Path

    @classmethod
    def of(cls, data_dir: Path, root: Path = BPF_FS) -> Self:
        """Return the place for a data directory, by its identity: a copy of it is another one."""
        found = data_dir.stat()
        words = data_dir.name or "root"
        name = "".join(each if each.isalnum() else "_" for each in words)
        return cls(root / "whence" / f"{name}-{found.st_dev:x}-{found.st_ino:x}")

    @property
    def journal(self) -> Path:
        """Where the daemon writes down what it took."""
        return (_memory() or _MEMORY[0]) / _NOTES / self.instance.name

    def unusable(self) -> str | None:
        """Why nothing can be pinned here, with the remedy; None when it can."""
        root = self.instance.parent.parent
        if not _is_bpf_fs(root):
            return f"{root} is no BPF file system: mount -t bpf bpf {root}"
        memory = _memory()
        if memory is None:
            return "neither /run nor /dev/shm is in memory: mount -t tmpfs tmpfs /dev/shm"
        notes = memory / _NOTES
        with suppress(FileExistsError):
            notes.mkdir(mode=0o700)
        found = notes.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid or found.st_mode & 0o077:
            return f"{notes} is open to others than root: remove it"
        return None

    def folder(self, file: Path, settings: bytes, sizes: Mapping[str, int]) -> Path:
        """Where programs of exactly these bytes and settings would stand."""
        told = hashlib.sha256(file.read_bytes())
        told.update(settings)
        told.update(repr(sorted(sizes.items())).encode())
        return self.instance / told.hexdigest()[:16]

    def prepare(self) -> None:
        """Make the folder, closed to everybody else. Raises OSError."""
        self.instance.parent.mkdir(mode=0o700, exist_ok=True)
        self.instance.mkdir(mode=0o700, exist_ok=True)

    def remove(self, but: Path | None = None) -> bool:
        """End whatever stands here, except ``but``; False when nothing did."""
        if not self.instance.is_dir():
            return False
        others = [each for each in self.instance.iterdir() if each != but]
        for each in others:
            unpin(each)
        if but is None:
            with suppress(OSError):
                self.instance.rmdir()
        return bool(others)


def unpin(folder: Path) -> None:
    """Remove pins: links first, so that no program runs on with half of its world."""
    for kind in reversed(_KINDS):
        shutil.rmtree(folder / kind, ignore_errors=True)
    with suppress(OSError):
        folder.rmdir()


def _pin_name(name: str) -> str:
    """A name with a dot is not allowed there (kernel/bpf/inode.c bpf_lookup())."""
    return name.replace(".", "_")


def _is_bpf_fs(path: Path) -> bool:
    return _kind_of(path) == "bpf"


def _memory() -> Path | None:
    return next((path for path in _MEMORY if _kind_of(path) == "tmpfs"), None)


def _kind_of(path: Path) -> str:
    """Kind of the file system that is mounted at a path; empty where none is."""
    text = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    found = [line.split()[2] for line in text.splitlines() if line.split()[1] == str(path)]
    return found[-1] if found else ""


def _named(library: Libbpf, handle: int, kind: str, name: str) -> int:
    what = f"no BPF {kind} {name}"
    return library.pointer(what, f"bpf_object__find_{kind}_by_name", handle, name.encode())


def _configure(library: Libbpf, handle: int, settings: bytes) -> None:
    """Write struct whence_config into the section that becomes constant at load."""
    size = ctypes.c_size_t()
    section = _named(library, handle, "map", _SETTINGS)
    address = library.pointer(
        "no settings section", "bpf_map__initial_value", section, ctypes.byref(size)
    )
    ctypes.memmove(address, settings, size.value)
