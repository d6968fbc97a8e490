"""Which package of the system, or of a conda environment, a program or shared library belongs to.

Reads the databases of dpkg, rpm and conda as data, in the hasher process, below the root of the
program that used the file.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any, Final

from whenced import openat
from whenced.git_objects import read_small
from whenced.python_packages import Owner

_DPKG: Final = b"/var/lib/dpkg"
_RPM: Final = (b"/usr/lib/sysimage/rpm/rpmdb.sqlite", b"/var/lib/rpm/rpmdb.sqlite")
_PROGRAM: Final = re.compile(rb"/s?bin/|\.so(\.|\Z)|/libexec/|\.node\Z")
_LIST_BYTES: Final = 16 << 20
_STATUS_BYTES: Final = 64 << 20
_FILES_LIMIT: Final = 200_000
_ROOTS_KEPT: Final = 3
_LEVELS_UP: Final = 8
_FIELD: Final = re.compile(rb"^(Package|Version|Status):[ \t]*(.+)$", re.MULTILINE)

# rpm header tags (lib/rpmtag.h)
_NAME, _VERSION, _RELEASE, _EPOCH = 1000, 1001, 1002, 1003
_DIRINDEXES, _BASENAMES, _DIRNAMES = 1116, 1117, 1118
_INT32, _STRING, _STRING_ARRAY = 4, 6, 8

Files = dict[bytes, tuple[str, str]]  # path without a leading /usr -> name, version


class SystemPackages:
    """Owners of programs and shared libraries; the newest few databases are remembered."""

    def __init__(self) -> None:
        """Start with nothing known."""
        self._known: dict[tuple[int, int, int], Files] = {}

    def owner(self, root: int, path: bytes) -> Owner | None:
        """Return the package of the file at `path` below `root`, None if no database has it.

        Raises OSError when a database cannot be read.
        """
        plain = _plain(path)
        with suppress(FileNotFoundError):
            found = self._files(root, _DPKG + b"/status", _read_dpkg).get(plain)
            if found is not None:
                return Owner("deb", *found, "", "", modified=False)
        for database in _RPM:
            with suppress(FileNotFoundError):
                found = self._files(root, database, _read_rpm).get(plain)
                if found is not None:
                    return Owner("rpm", *found, "", "", modified=False)
        return self._conda_owner(root, path)

    def _files(self, root: int, database: bytes, read: Callable[[int, bytes], Files]) -> Files:
        fd = openat.locate(root, database)
        try:
            status = os.fstat(fd)
        finally:
            os.close(fd)
        key = (status.st_dev, status.st_ino, status.st_mtime_ns)
        files = self._known.pop(key, None)
        if files is None:
            files = read(root, database)
        self._known[key] = files
        while len(self._known) > _ROOTS_KEPT:
            del self._known[next(iter(self._known))]
        return files

    def _conda_owner(self, root: int, path: bytes) -> Owner | None:
        prefix = path
        for _ in range(_LEVELS_UP):
            prefix = prefix.rpartition(b"/")[0]
            if not prefix:
                return None
            try:
                files = self._files(root, prefix + b"/conda-meta/history", _read_conda)
            except OSError:
                continue
            found = files.get(path[len(prefix) + 1 :])
            place = prefix.decode("utf-8", "backslashreplace")
            return Owner("conda", *found, place, "", modified=False) if found else None
        return None


def _plain(path: bytes) -> bytes:
    """Return a path as it is whether or not /bin and /lib are links to /usr (usrmerge)."""
    return path.removeprefix(b"/usr") if path.startswith(b"/usr/") else path


def _read_dpkg(root: int, database: bytes) -> Files:
    status = read_small(root, database, _STATUS_BYTES) or b""
    versions: dict[bytes, bytes] = {}
    for stanza in status.split(b"\n\n"):
        told = dict(_FIELD.findall(stanza))
        if b"Package" in told and told.get(b"Status", b"").endswith(b" installed"):
            versions[told[b"Package"]] = told.get(b"Version", b"")
    files: Files = {}
    info = openat.locate(root, _DPKG + b"/info")
    try:
        for name in openat.names_in(info):
            package = name.removesuffix(b".list").split(b":")[0]
            if not name.endswith(b".list") or package not in versions:
                continue
            owner = (
                package.decode("ascii", "replace"),
                versions[package].decode("ascii", "replace"),
            )
            for line in (read_small(info, name, _LIST_BYTES) or b"").splitlines():
                if _PROGRAM.search(line) and len(files) < _FILES_LIMIT:
                    files[_plain(line)] = owner
    finally:
        os.close(info)
    return files


def _read_conda(root: int, database: bytes) -> Files:
    """conda-meta/NAME.json of each package lists its files, relative to the prefix."""
    folder = openat.locate(root, database.rpartition(b"/")[0])
    files: Files = {}
    try:
        for name in openat.names_in(folder):
            if not name.endswith(b".json"):
                continue
            try:
                told = json.loads(read_small(folder, name, _LIST_BYTES) or b"null")
                owner = (str(told["name"]), str(told["version"]))
                listed = [os.fsencode(str(each)) for each in told["files"]]
            except (ValueError, KeyError, TypeError):
                continue
            wanted = (each for each in listed if _PROGRAM.search(b"/" + each))
            files.update((each, owner) for each in wanted if len(files) < _FILES_LIMIT)
    finally:
        os.close(folder)
    return files


def _read_rpm(root: int, database: bytes) -> Files:
    """Headers of all packages, as rpm keeps them in a table of SQLite (lib/backend/sqlite.c)."""
    files: Files = {}
    fd = openat.open_regular(root, database)
    try:
        uri = f"file:/proc/self/fd/{fd}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            for (blob,) in connection.execute("SELECT blob FROM Packages"):
                with suppress(struct.error, IndexError, ValueError):
                    files.update(_files_of_header(blob))
                if len(files) > _FILES_LIMIT:
                    break
    except sqlite3.Error:
        return {}
    finally:
        os.close(fd)
    return files


def _files_of_header(blob: bytes) -> Iterator[tuple[bytes, tuple[str, str]]]:
    tags = _header(blob)
    name, version = tags[_NAME][0].decode(), tags[_VERSION][0].decode()
    release = tags.get(_RELEASE, [b""])[0].decode()
    owner = (name, f"{version}-{release}" if release else version)
    folders, bases = tags.get(_DIRNAMES, []), tags.get(_BASENAMES, [])
    for base, folder in zip(bases, tags.get(_DIRINDEXES, []), strict=True):
        path = folders[folder] + base
        if _PROGRAM.search(path):
            yield _plain(path), owner


def _header(blob: bytes) -> dict[int, list[Any]]:
    """Return the tags of a header: two counts, an index, a store (lib/header.c)."""
    entries, _ = struct.unpack_from(">II", blob)
    store = 8 + 16 * entries
    tags: dict[int, list[Any]] = {}
    for at in range(8, store, 16):
        tag, kind, offset, count = struct.unpack_from(">IIII", blob, at)
        if kind == _INT32:
            tags[tag] = list(
                struct.unpack_from(f">{min(count, _FILES_LIMIT)}I", blob, store + offset)
            )
        elif kind in (_STRING, _STRING_ARRAY):
            tags[tag] = blob[store + offset :].split(b"\0", min(count, _FILES_LIMIT))[:count]
    return tags
