"""Which installed Python distribution a file belongs to, by the RECORD files beside it.

Reads metadata as data, in the hasher process: runs no pip and imports nothing. Source of the
format: the PyPA specification "Recording installed projects".
"""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import re
import stat
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from whenced import openat
from whenced.git_objects import read_small

_PLACES: Final = re.compile(rb"(.*/(?:site|dist)-packages)/(.+)\Z", re.DOTALL)
_CACHED_SOURCE: Final = re.compile(rb"(.*/|)__pycache__/([^/]+?)\.[\w-]+(?:\.opt-\d)?\.pyc\Z")
# What is read of a package by who lists what is installed: no sign that it is used. Who asks for
# its version reads METADATA, and fails where the package is not there.
_ABOUT: Final = re.compile(
    rb"[^/]+\.(?:dist|egg)-info(?:/(?!METADATA\Z|PKG-INFO\Z).*)?\Z", re.DOTALL
)
_EGG: Final = re.compile(rb"(.+?)-([^-]+?)(?:-py[\d.]+)?\.egg-info\Z")
_HEADER: Final = re.compile(rb"^(Name|Version):[ \t]*(\S+)", re.MULTILINE)
_RECORD_BYTES: Final = 16 << 20
_METADATA_BYTES: Final = 1 << 20
_HEADER_BYTES: Final = 8 << 10
_FILES_LIMIT: Final = 400_000
_DISTRIBUTIONS_LIMIT: Final = 5_000
_FOLDERS_KEPT: Final = 4
_HASHED_BYTES: Final = 64 << 20
#: An installer writes RECORD last; what is newer was written by somebody else.
_SLACK_NS: Final = 2_000_000_000


class Owner(NamedTuple):
    """An installed package, and whether the file that was asked for is as it was installed."""

    ecosystem: str
    name: str
    version: str
    location: str
    record_sha256: str  # hexadecimal, empty where there is none
    modified: bool


@dataclass(frozen=True, slots=True)
class _Distribution:
    name: str
    version: str
    record_sha256: str
    recorded_ns: int


@dataclass(slots=True)
class _Folder:
    """One site-packages: owner, size and digest (unpadded base64) of each recorded file."""

    files: dict[bytes, tuple[int, int, str]] = field(default_factory=dict)
    tops: dict[bytes, int] = field(default_factory=dict)  # of distributions without RECORD
    distributions: list[_Distribution] = field(default_factory=list)


class PythonPackages:
    """Owners of files below site-packages; the newest few folders are remembered."""

    def __init__(self) -> None:
        """Start with nothing known."""
        self._folders: dict[tuple[int, int, int], _Folder] = {}

    def owner(self, root: int, path: bytes) -> Owner | None:
        """Return who installed the file at `path` below the directory `root`, None if nobody did.

        Compiled files belong to their source; what only describes a package is of nobody. Raises
        OSError when the folder cannot be read.
        """
        found = _PLACES.match(path)
        if found is None or _ABOUT.match(found[2]):
            return None
        location, relative = found[1], source_of(found[2])
        fd = openat.locate(root, location)
        try:
            folder = self._folder(fd)
            number, size_bytes, digest = folder.files.get(relative, (-1, -1, ""))
            if number < 0:
                number = folder.tops.get(relative.split(b"/", 1)[0], -1)
            if number < 0:
                return None
            owner = folder.distributions[number]
            modified = _is_modified(fd, relative, size_bytes, digest, owner.recorded_ns)
        finally:
            os.close(fd)
        place = location.decode("utf-8", "backslashreplace")
        return Owner("pypi", owner.name, owner.version, place, owner.record_sha256, modified)

    def _folder(self, fd: int) -> _Folder:
        status = os.fstat(fd)
        key = (status.st_dev, status.st_ino, status.st_mtime_ns)
        folder = self._folders.pop(key, None) or _read_folder(fd)
        self._folders[key] = folder  # the last is the newest
        while len(self._folders) > _FOLDERS_KEPT:
            del self._folders[next(iter(self._folders))]
        return folder


def source_of(relative: bytes) -> bytes:
    """Return the source of a compiled Python file, other paths as they are.

    An import reads the cached file and only looks at the source (PEP 3147).
    """
    found = _CACHED_SOURCE.match(relative)
    return found[1] + found[2] + b".py" if found else relative


def _read_folder(fd: int) -> _Folder:
    folder = _Folder()
    for name in openat.names_in(fd):
        if len(folder.distributions) >= _DISTRIBUTIONS_LIMIT or len(folder.files) > _FILES_LIMIT:
            break
        if name.endswith(b".dist-info"):
            _add_wheel(folder, fd, name)
        elif name.endswith(b".egg-info"):
            _add_egg(folder, fd, name)
    return folder


def _add_wheel(folder: _Folder, fd: int, name: bytes) -> None:
    record = read_small(fd, name + b"/RECORD", _RECORD_BYTES)
    metadata = read_small(fd, name + b"/METADATA", _METADATA_BYTES)
    if record is None or metadata is None:
        return
    headers, *_ = re.split(rb"\r?\n\r?\n", metadata[:_HEADER_BYTES], maxsplit=1)
    told: dict[bytes, bytes] = dict(_HEADER.findall(headers))
    number = len(folder.distributions)
    folder.distributions.append(
        _Distribution(
            told.get(b"Name", name.split(b"-")[0]).decode("utf-8", "backslashreplace"),
            told.get(b"Version", b"").decode("utf-8", "backslashreplace"),
            hashlib.sha256(record, usedforsecurity=False).hexdigest(),
            os.stat(name + b"/RECORD", dir_fd=fd, follow_symlinks=False).st_mtime_ns,
        )
    )
    for row in csv.reader(record.decode("utf-8", "surrogateescape").splitlines()):
        if len(row) == 3 and "__pycache__/" not in row[0] and len(folder.files) <= _FILES_LIMIT:
            size_bytes = int(row[2]) if row[2].isdecimal() else -1
            digest = row[1].removeprefix("sha256=") if row[1].startswith("sha256=") else ""
            folder.files[os.fsencode(row[0])] = (number, size_bytes, digest)


def _add_egg(folder: _Folder, fd: int, name: bytes) -> None:
    """What setuptools or a distribution's packager left: a name, a version, top-level names."""
    found = _EGG.match(name)
    if found is None:
        return
    number = len(folder.distributions)
    package, version = (part.decode("utf-8", "backslashreplace") for part in found.groups())
    folder.distributions.append(_Distribution(package, version, "", 0))
    tops = read_small(fd, name + b"/top_level.txt", _METADATA_BYTES) or found[1].lower()
    for top in tops.split():
        folder.tops.setdefault(top, number)
        folder.tops.setdefault(top + b".py", number)


def _is_modified(
    folder: int, relative: bytes, size_bytes: int, digest: str, recorded_ns: int
) -> bool:
    """Compare with RECORD: the size always, the content where the file is younger than RECORD."""
    if size_bytes < 0:
        return False
    try:
        fd = openat.open_regular(folder, relative, links_inside=True)
    except OSError:
        return False  # gone since; what it held is not known here
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size != size_bytes:
            return True
        if status.st_mtime_ns <= recorded_ns + _SLACK_NS or size_bytes > _HASHED_BYTES:
            return False
        with os.fdopen(os.dup(fd), "rb") as file:
            found = hashlib.file_digest(file, "sha256").digest()
        return bool(digest) and base64.urlsafe_b64encode(found).rstrip(b"=").decode() != digest
    finally:
        os.close(fd)
