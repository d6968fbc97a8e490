"""Keeps the rows of the recipe: repeated environments, packages and differences are stored once.

Runs on the writer thread inside the batch's transaction; after one that failed, a new one is made.
"""

from __future__ import annotations

from collections import OrderedDict
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from whence_collector.rows import columns_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from whence_collector.resolved import ChangeRow, EnvironmentRow, PackageRow, RecipeRows
    from whence_collector.store import Writer

REMEMBERED = 1 << 16

Key = TypeVar("Key", bound="Hashable")


class Numbers(Generic[Key]):
    """Numbers for values: one that was forgotten gets a new number, which harms nobody."""

    def __init__(self, table: str, id_column: str, writer: Writer) -> None:
        highest = writer.rows(f"SELECT coalesce(max({id_column}), 0) FROM {table}")  # noqa: S608 -- names are ours
        self._next = int(highest[0][0]) + 1
        self._known: OrderedDict[Key, int] = OrderedDict()

    def give(self, keys: Iterable[Key]) -> tuple[list[int], dict[Key, int]]:
        """Return the number of each value, and those that are new."""
        new: dict[Key, int] = {}
        numbers = []
        for key in keys:
            number = self._known.get(key)
            if number is None:
                number = self._known[key] = new[key] = self._next
                self._next += 1
            numbers.append(number)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return numbers, new


_PACKAGE = attrgetter("ecosystem", "name", "version", "location", "record_sha256")


class RecipeStore:
    """The dictionaries of the recipe and the rows that use them."""

    def __init__(self, writer: Writer) -> None:
        self._environments: Numbers[tuple[tuple[str, str], ...]] = Numbers(
            "environment", "environment_id", writer
        )
        self._packages: Numbers[tuple[Any, ...]] = Numbers("package", "package_id", writer)
        self._differences: Numbers[str] = Numbers("difference", "difference_id", writer)

    def store(self, rows: RecipeRows, writer: Writer) -> dict[int, int]:
        """Append everything; return the environment_id of each process that told its own."""
        self._store_packages(rows.packages, writer)
        self._store_changes(rows.changes, writer)
        writer.append("file_origin", columns_of(rows.origins))
        writer.append("container", columns_of(rows.containers))
        return self._store_environments(rows.environments, writer)

    def _store_environments(self, rows: Sequence[EnvironmentRow], writer: Writer) -> dict[int, int]:
        if not rows:
            return {}
        numbers, new = self._environments.give(row.variables for row in rows)
        writer.append(
            "environment",
            {
                "environment_id": list(new.values()),
                "names": [[name for name, _ in pairs] for pairs in new],
                "contents": [[value for _, value in pairs] for pairs in new],
            },
        )
        process_ids = [row.process_id for row in rows]
        writer.append(
            "process_environment",
            {
                "process_id": process_ids,
                "environment_id": numbers,
                "truncated": [row.truncated for row in rows],
            },
        )
        return dict(zip(process_ids, numbers, strict=True))

    def _store_packages(self, rows: Sequence[PackageRow], writer: Writer) -> None:
        if not rows:
            return
        numbers, new = self._packages.give(map(_PACKAGE, rows))
        ecosystem, name, version, location, record = zip(*new, strict=True) if new else [()] * 5
        writer.append(
            "package",
            {
                "package_id": list(new.values()),
                "ecosystem": list(ecosystem),
                "name": list(name),
                "version": list(version),
                "location": list(location),
                "record_sha256": [each or None for each in record],
            },
        )
        writer.append(
            "process_package",
            {
                "process_id": [row.process_id for row in rows],
                "package_id": numbers,
                "modified": [row.modified for row in rows],
                "at_unix_ns": [row.at_unix_ns for row in rows],
            },
        )

    def _store_changes(self, rows: Sequence[ChangeRow], writer: Writer) -> None:
        if not rows:
            return
        told = [row.difference for row in rows if row.difference is not None]
        numbers, new = self._differences.give(told)
        writer.append("difference", {"difference_id": list(new.values()), "content": list(new)})
        number = dict(zip(told, numbers, strict=True))
        columns = columns_of(rows)
        columns["difference_id"] = [number.get(each) for each in columns.pop("difference")]
        writer.append("code_change", columns)


def load_environments(
    process_ids: Iterable[int], writer: Writer
) -> dict[int, tuple[int, dict[str, str]]]:
    """Return (environment_id, variables) of the programs that told an environment of their own."""
    wanted = {"process_id": list(process_ids)}
    if not wanted["process_id"]:
        return {}
    found = writer.rows_with(
        wanted,
        "SELECT process_id, environment_id, names, contents FROM process_environment "
        "JOIN wanted USING (process_id) JOIN environment USING (environment_id)",
    )
    return {
        process_id: (environment_id, dict(zip(names, contents, strict=True)))
        for process_id, environment_id, names, contents in found
    }
