"""The grades of a recipe: what must be equal for two runs to be the same work. Pure.

opening      what is known when a run starts: its entry point and options
exact        opening, folder, variables, code, inputs under their names, packages and libraries
same result  entry point and options but for places, code, inputs, packages; not where
intent       entry point, options but for places, data and base models

Places are words that are files of the run, or look like paths: where a result is put, and under
which name an input lies, does not change it. Equal bytes do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from posixpath import basename, normpath

from blake3 import blake3

_VERSIONED = re.compile(r"^(python|pypy|perl|ruby|node|bash|sh)[\d.]*$")
_PLACE = "<place>"
# Variables that differ from one start to the next and change nothing.
_PASSING = frozenset(
    {
        "MASTER_PORT",
        "TORCHELASTIC_RUN_ID",
        "SLURM_JOB_ID",
        "SLURM_STEP_ID",
        "SLURM_JOB_SLUID",
        "SLURM_PROCID",
        "RANK",
        "LOCAL_RANK",
        "WHENCE_CLAIM",
        "PWD",
        "OLDPWD",
        "SHLVL",
    }
)
# Options that say where or how loudly, not what.
_SAYING_WHERE = re.compile(
    r"^-{1,2}(o|out|output|output[-_]dir|out[-_]dir|save[-_]?(dir|path|to)?|log[-_]?dir|run[-_]name|"
    r"name|exp(eriment)?[-_]name|verbose|v|q|quiet|progress|resume[-_]dir)$"
)


@dataclass(frozen=True, slots=True)
class Material:
    """What a run is known to have been made of; None: not known."""

    argv: Sequence[str]
    cwd: str | None
    script: str | None  # digest of the file that was started, where it was read
    environment: Sequence[tuple[str, str]]
    files: Sequence[tuple[str, str, str]]  # class, path, digest of each input
    packages: Sequence[str]
    libraries: Collection[str]  # digests
    outputs: Collection[str]  # paths


@dataclass(frozen=True, slots=True)
class Keys:
    """The grades of one run, 32 bytes each."""

    opening: bytes
    exact: bytes
    same_result: bytes
    intent: bytes


def keys_of(material: Material) -> Keys:
    """Return the grades of a finished run."""
    words = plain_words(material.argv)
    free = free_words(material.argv, material.cwd, material.outputs, material.files)
    code = sorted({digest for kind, _, digest in material.files if kind in ("code", "config")})
    data = sorted({digest for kind, _, digest in material.files if kind in ("data", "model")})
    named = sorted(f"{kind} {path} {digest}" for kind, path, digest in material.files)
    variables = sorted(f"{name}={value}" for name, value in material.environment)
    kept = sorted(f"{n}={v}" for n, v in material.environment if n not in _PASSING)
    return Keys(
        opening=opening_of(material.argv),
        exact=_digest(
            "exact", words, [material.cwd or ""], variables, named, sorted(material.packages),
            sorted(material.libraries),
        ),
        same_result=_digest("same result", free, code, data, kept, sorted(material.packages)),
        intent=_digest("intent", free, data),
    )  # fmt: skip


def opening_of(argv: Sequence[str]) -> bytes:
    """Return what two runs of the same intent have in common when they start."""
    return _digest("opening", _without_places(plain_words(argv)))


def plain_words(argv: Sequence[str]) -> list[str]:
    """Return the words with the program called by its plain name: python for python3.11."""
    if not argv:
        return []
    name = basename(argv[0])
    found = _VERSIONED.match(name)
    return [found[1] if found else name, *argv[1:]]


def free_words(
    argv: Sequence[str],
    cwd: str | None,
    outputs: Collection[str],
    files: Sequence[tuple[str, str, str]],
) -> list[str]:
    """Return the words without places: inputs by content, outputs and folders by nothing."""
    content = {path: digest for _, path, digest in files}
    written = set(outputs)
    words = []
    for word in plain_words(argv):
        name, equals, value = word.rpartition("=")
        path = normpath(f"{cwd or ''}/{value}" if not value.startswith("/") else value)
        if path in content:
            words.append(f"{name}{equals}{content[path]}")
        elif path in written or "/" in value:
            words.append(f"{name}{equals}{_PLACE}")
        else:
            words.append(word)
    return _without_places(words)


def _without_places(words: Iterable[str]) -> list[str]:
    """Leave out options that only say where; the others in the order of their names."""
    head: list[str] = []
    options: list[list[str]] = []
    for word in words:
        if word.startswith("-") and len(word) > 1 and not re.match(r"^-\d", word):
            options.append([word])
        elif options:
            options[-1].append(word if "/" not in word else _PLACE)
        else:
            head.append(word if "/" not in word else basename(word))
    kept = [each for each in options if not _SAYING_WHERE.match(each[0].partition("=")[0])]
    return head + [word for each in sorted(kept) for word in each]


def _digest(mark: str, *parts: Sequence[str]) -> bytes:
    hasher = blake3(f"whence recipe 1 {mark}".encode())
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little"))
        for word in part:
            raw = word.encode("utf-8", "backslashreplace")
            hasher.update(len(raw).to_bytes(8, "little"))
            hasher.update(raw)
    return hasher.digest()
