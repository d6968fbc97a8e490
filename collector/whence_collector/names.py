"""Renames, links and deletions applied to the paths that a run wrote.

Pure: a tree of names, changed in time order; it never looks at a file system.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

RENAME, LINK, DELETE, EXCHANGE = 1, 2, 3, 4  # whence.v1.NameChange
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Written(Generic[Key]):
    """An output under the name it was written by; at_ns of its first write."""

    key: Key
    path: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Change:
    """One change of names; new_path is empty for a deletion."""

    kind: int
    path: str
    new_path: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A name as it stands after all changes; when deleted, the last one it had."""

    path: str
    deleted: bool


@dataclass(slots=True, eq=False)
class _Place(Generic[Key]):
    name: str
    above: _Place[Key] | None
    below: dict[str, _Place[Key]] = field(default_factory=dict)
    keys: dict[Key, None] = field(default_factory=dict)  # in order of writing

    def path(self) -> str:
        parts: list[str] = []
        place: _Place[Key] | None = self
        while place is not None and place.above is not None:
            parts.append(place.name)
            place = place.above
        return "/" + "/".join(reversed(parts))


class NameTree(Generic[Key]):
    """The names of outputs, as a tree of folders: renaming a folder moves all below it."""

    def __init__(self) -> None:
        self._root: _Place[Key] = _Place("", None)
        self._places: dict[Key, list[_Place[Key]]] = {}
        self._last: dict[Key, str] = {}

    def write(self, key: Key, path: str) -> None:
        """Put an output at the name it was written by; a second name of one output adds up."""
        self._put(key, self._reach(path))

    def apply(self, change: Change) -> None:
        """Apply one change; names that no output has are no matter."""
        if change.kind == DELETE:
            self._remove(self._find(change.path))
        elif change.kind == RENAME:
            self._move(self._find(change.path), change.new_path)
        elif change.kind == LINK:
            source = self._find(change.path)
            for key in list(source.keys) if source else ():
                self._put(key, self._reach(change.new_path))
        elif change.kind == EXCHANGE:
            self._exchange(change.path, change.new_path)

    def standing(self, key: Key) -> Standing:
        """Return the name of an output as it stands now."""
        places = self._places.get(key)
        if places:
            return Standing(places[0].path(), deleted=False)
        return Standing(self._last[key], deleted=True)

    def _put(self, key: Key, place: _Place[Key]) -> None:
        places = self._places.setdefault(key, [])
        if place not in places:
            places.append(place)
            place.keys[key] = None

    def _find(self, path: str) -> _Place[Key] | None:
        place: _Place[Key] | None = self._root
        for name in _parts(path):
            place = place.below.get(name) if place is not None else None
        return place

    def _reach(self, path: str) -> _Place[Key]:
        place = self._root
        for name in _parts(path):
            place = place.below.setdefault(name, _Place(name, place))
        return place

    def _remove(self, place: _Place[Key] | None) -> None:
        """Forget a name and all below it; what has no other name is deleted under its last."""
        if place is None or place.above is None:
            return
        for below in list(place.below.values()):
            self._remove(below)
        path = place.path()
        for key in place.keys:
            self._places[key].remove(place)
            self._last[key] = path
        place.keys = {}
        place.above.below.pop(place.name, None)

    def _move(self, place: _Place[Key] | None, new_path: str) -> None:
        target = self._find(new_path)
        if target is not None and target is place:
            return
        self._remove(target)
        if place is None or place.above is None:
            return
        place.above.below.pop(place.name, None)
        self._attach(place, new_path)

    def _attach(self, place: _Place[Key], path: str) -> None:
        parts = _parts(path)
        above = self._reach("/".join(parts[:-1]))
        place.name, place.above = parts[-1], above
        above.below[place.name] = place

    def _exchange(self, one: str, other: str) -> None:
        first, second = self._find(one), self._find(other)
        for place in (first, second):
            if place is not None and place.above is not None:
                place.above.below.pop(place.name, None)
        if first is not None:
            self._attach(first, other)
        if second is not None:
            self._attach(second, one)


def standing_names(
    written: Iterable[Written[Key]], changes: Iterable[Change]
) -> dict[Key, Standing]:
    """Apply changes to outputs in the order of time; a write comes before a change at its time."""
    tree: NameTree[Key] = NameTree()
    keys: list[Key] = []
    events: list[tuple[int, int, Written[Key] | Change]] = [
        (each.at_ns, 0, each) for each in written
    ]
    events += [(each.at_ns, 1, each) for each in changes]
    for _, _, event in sorted(events, key=lambda entry: entry[:2]):
        if isinstance(event, Written):
            tree.write(event.key, event.path)
            keys.append(event.key)
        else:
            tree.apply(event)
    return {key: tree.standing(key) for key in keys}


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]
