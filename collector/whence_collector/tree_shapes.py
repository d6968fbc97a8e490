"""Which files of one run make up a tree: folders of which a run read or wrote several files.

Pure. A folder counts from three data or model files on; folders beside each other that hold the
same kind of file (train/, val/) are one tree below the folder above them. Settings and code below
the top of a tree belong to it, as config.json does to a checkpoint.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from posixpath import basename, dirname

LEAST_MEMBERS = 3
LEAST_DEPTH = 2  # of a folder that joins others: /data never is a dataset for that it holds some
# Checkpoints in parts say of how many: two of them are a tree.
_PART = re.compile(r"-\d{5}-of-\d{5}\.")
_STEP = re.compile(r"(?:step|ckpt|checkpoint|iter|epoch|global_step)[-_=]?(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Shape:
    """A tree of one run's files: its top folder, and the places of its files in what was given."""

    folder: str
    kind: str
    files: tuple[int, ...]
    step: int | None


def shapes(files: Sequence[tuple[str, str]]) -> list[Shape]:
    """Return the trees among (absolute path, class) of one side of a run, by folder."""
    in_folder: dict[str, list[int]] = defaultdict(list)
    for number, (path, file_class) in enumerate(files):
        if file_class in ("data", "model"):
            in_folder[dirname(path)].append(number)
    tops = {
        folder
        for folder, members in in_folder.items()
        if len(members) >= LEAST_MEMBERS or _is_in_parts(files[at][0] for at in members)
    }
    suffix = {folder: _suffix(files[at][0] for at in in_folder[folder]) for folder in tops}
    tops = _joined(tops, suffix)
    return [_shape(folder, files) for folder in sorted(tops)]


def _is_in_parts(paths: Iterable[str]) -> bool:
    return sum(_PART.search(path) is not None for path in paths) > 1


def _joined(tops: set[str], suffix: dict[str, str]) -> set[str]:
    """Put like folders beside each other under the one above them, as far up as that goes."""
    while True:
        beside: dict[tuple[str, str], set[str]] = defaultdict(set)
        for folder in tops:
            above = dirname(folder)
            if above.count("/") >= LEAST_DEPTH:
                beside[above, suffix[folder]].add(folder)
        join = {key: below for key, below in beside.items() if len(below) > 1}
        if not join:
            break
        for (above, kind), below in join.items():
            tops -= below
            tops.add(above)
            suffix[above] = kind
    return {folder for folder in tops if not any(_below(folder, other) for other in tops)}


def _below(path: str, folder: str) -> bool:
    return path != folder and path.startswith(folder + "/")


def _suffix(paths: Iterable[str]) -> str:
    return Counter(basename(path).rpartition(".")[2] for path in paths).most_common(1)[0][0]


def _shape(folder: str, files: Sequence[tuple[str, str]]) -> Shape:
    wanted = ("data", "model", "config")
    members = tuple(
        number
        for number, (path, file_class) in enumerate(files)
        if file_class in wanted and _below(path, folder)
    )
    models = sum(files[number][1] == "model" for number in members)
    step = _STEP.findall(folder)
    return Shape(
        folder,
        "checkpoint" if models * 2 >= len(members) else "dataset",
        members,
        int(step[-1]) if step and len(step[-1]) < 18 else None,
    )
