"""What touched files are part of: which to ask the hasher about, and the rows of its answers.

Pure state. A path is asked about once as long as the file stays the same; each program is told each
package, changed file and origin once.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from whence_proto.v1 import ingest_pb2 as wire
from whenced.container_state import container_id
from whenced.hash_messages import DONE, InspectReply, InspectRequest
from whenced.hub_names import is_hub
from whenced.python_packages import source_of
from whenced.record import Kind
from whenced.rows import ChangeRow, ContainerRow, OriginRow, PackageRow

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from whenced.event import Event
    from whenced.rows import FileVersion, ProcessKey, RecipeRow

# Requests have tickets of their own space, above those of code requests.
TICKETS: Final = 1 << 52
_PATHS_AT_ONCE: Final = 400
_BYTES_AT_ONCE: Final = 16 << 10  # of one request: it travels as one message
#: A repository may change by a commit, and the file stays. A build reads the same clean headers all
#: the time: asking about them as often would cost more than the rest of the watching.
_CODE_FRESH_NS: Final = 2_000_000_000
_CLEAN_FRESH_NS: Final = 30_000_000_000
#: Long enough that a program's first files leave together.
_GATHER_NS: Final = 50_000_000
_KNOWN_PATHS: Final = 1 << 15
_KNOWN_TOLD: Final = 1 << 16
_WAITING_LIMIT: Final = 20_000

_CODE: Final = re.compile(
    rb".*\.(py|pyx|pyc|ipynb|sh|bash|r|R|jl|rb|pl|lua|js|mjs|ts|go|rs|c|h|cc|cpp|cxx|hpp|cu|cuh|java|"
    rb"scala|sql|mk|cmake|smk|nf|ya?ml|toml|ini|cfg|conf|json|gin|env|properties)\Z|"
    rb".*/(Makefile|makefile|Dockerfile|Snakefile|CMakeLists\.txt|dvc\.lock)\Z",
    re.DOTALL,
)
_SYSTEM: Final = re.compile(rb"/(usr|lib|lib64|bin|sbin|opt|nix|snap|proc|sys|dev|run|etc|var)/")
#: Interpreters, environments and tools: not somebody's project, though a repository may be around.
_TOOLING: Final = re.compile(
    rb".*(/lib(64)?/(python|pypy)[\d.]+/|/pyvenv\.cfg\Z|/node_modules/|/(conda-meta|__pypackages__)/|"
    rb"/\.(venv|tox|nox|pyenv|rbenv|nvm|asdf|conda|rustup|cargo|cache|local|npm|m2|gradle|git)/)",
    re.DOTALL,
)
_PACKAGES: Final = (b"/site-packages/", b"/dist-packages/")
_PRESENT: Final = frozenset(map(int, (Kind.READ, Kind.MAP, Kind.EXECUTE)))
_EXECUTE: Final = int(Kind.EXECUTE)

Answer = tuple[str, ...] | None


@lru_cache(_KNOWN_PATHS)
def kind_of(path: bytes) -> str:
    """Return what to ask of a path that was read or mapped, empty for nothing."""
    if any(place in path for place in _PACKAGES):
        return "python"
    if is_hub(path):
        return "hub"
    if _CODE.match(path) and not _SYSTEM.match(path) and not _TOOLING.match(path):
        return "code"
    return ""


@dataclass(slots=True)
class _Question:
    """A path that was asked about, and who touched it meanwhile."""

    kind: str
    path: bytes
    asked_ns: int
    answered: bool = False
    answer: Answer = None
    waiting: list[tuple[ProcessKey, FileVersion | None, int]] = field(default_factory=list)

    def is_stale(self, now_ns: int) -> bool:
        """Tell whether the answer may be another one by now."""
        if self.kind != "code" or not self.answered:
            return False
        fresh_ns = _CLEAN_FRESH_NS if self.answer is None else _CODE_FRESH_NS
        return now_ns - self.asked_ns > fresh_ns


class Inquiries:
    """Questions, answers, and rows; root_tgid tells in whose root an event's paths resolve."""

    def __init__(self, root_tgid: Callable[[Event], int]) -> None:
        self._root_tgid = root_tgid
        self._questions: OrderedDict[Hashable, _Question] = OrderedDict()
        self._gathered: dict[tuple[str, int], list[_Question]] = {}
        self._since_ns: int | None = None
        self._asked: dict[int, list[_Question]] = {}
        self._told: OrderedDict[Hashable, None] = OrderedDict()
        self._next_ticket = TICKETS
        self._waiting = 0
        self.rows: list[RecipeRow] = []
        self.left_out = 0  # touches that nothing was asked about, for too many waited

    @property
    def due_ns(self) -> int | None:
        """When requests() has something to give."""
        return None if self._since_ns is None else self._since_ns + _GATHER_NS

    # What comes in ------------------------------------------------------------

    def touched(
        self, event: Event, process: ProcessKey, path: bytes, file: FileVersion | None
    ) -> None:
        """A program touched a file."""
        if event.kind not in _PRESENT:
            return
        kind = kind_of(path)
        if kind:
            self._ask(kind, path, event, process, file)
        if event.kind == _EXECUTE and kind != "python":
            self._ask("system", path, event, process, file)

    def contained(self, event: Event, process: ProcessKey, cgroup: str | None) -> None:
        """A program began in a control group, perhaps that of a container."""
        identity = container_id(cgroup) if cgroup else None
        if identity is not None:
            key = ("container", identity)
            self._find(key, "container", identity.encode(), 0, event.at_ns, (process, None))

    def _ask(
        self, kind: str, path: bytes, event: Event, process: ProcessKey, file: FileVersion | None
    ) -> None:
        if kind == "code":
            path = source_of(path)
        state = (event.file, event.size_bytes, event.mtime_ns) if kind == "code" else event.file
        key: Hashable = (kind, path, state)
        self._find(key, kind, path, self._root_tgid(event), event.at_ns, (process, file))

    def _find(
        self,
        key: Hashable,
        kind: str,
        path: bytes,
        tgid: int,
        at_ns: int,
        toucher: tuple[ProcessKey, FileVersion | None],
    ) -> None:
        question = self._questions.get(key)
        if question is None or question.is_stale(at_ns):
            if self._waiting >= _WAITING_LIMIT:
                self.left_out += 1
                return
            question = self._questions[key] = _Question(kind, path, at_ns)
            self._gathered.setdefault((kind, tgid), []).append(question)
            self._since_ns = at_ns if self._since_ns is None else self._since_ns
            self._waiting += 1
            while len(self._questions) > _KNOWN_PATHS:
                self._questions.popitem(last=False)
        if question.answered:
            self._tell(question, *toucher, at_ns)
        else:
            question.waiting.append((*toucher, at_ns))

    # What goes to the hasher, and comes back ----------------------------------

    def requests(self, now_ns: int) -> list[InspectRequest]:
        """Return what is to be asked now: few requests of many paths."""
        if self._since_ns is None or now_ns < self._since_ns + _GATHER_NS:
            return []
        self._since_ns = None
        gathered, self._gathered = self._gathered, {}
        found = []
        for (kind, tgid), questions in gathered.items():
            for part in _parts(questions):
                ticket = self._next_ticket
                self._next_ticket += 1
                self._asked[ticket] = part
                paths = b"\0".join(each.path for each in part)
                found.append(InspectRequest(ticket, kind, paths, tgid))
        return found

    def on_reply(self, reply: InspectReply) -> None:
        """Take an answer; what no reply came for by the last one is nothing that is known."""
        questions = self._asked.get(reply.ticket)
        if questions is None:
            return
        if reply.place != DONE:
            if 0 <= reply.place < len(questions):
                self._settle(questions[reply.place], reply.texts)
            return
        del self._asked[reply.ticket]
        for question in questions:
            if not question.answered:
                self._settle(question, None)

    def _settle(self, question: _Question, answer: Answer) -> None:
        if not question.answered:
            self._waiting -= 1
        question.answered, question.answer = True, answer
        waiting, question.waiting = question.waiting, []
        for toucher in waiting:
            self._tell(question, *toucher)

    # Rows ---------------------------------------------------------------------

    def _tell(
        self, question: _Question, process: ProcessKey, file: FileVersion | None, at_ns: int
    ) -> None:
        answer = question.answer
        if answer is None:
            return
        whom: Hashable = file if question.kind == "hub" else process
        key = (question.kind, whom, answer)
        if question.kind == "container":
            key = (question.kind, question.path, answer)
        if key in self._told:
            return
        self._told[key] = None
        while len(self._told) > _KNOWN_TOLD:
            self._told.popitem(last=False)
        row = _row(question, answer, process, file, at_ns)
        if row is not None:
            self.rows.append(row)


def _row(
    question: _Question,
    answer: tuple[str, ...],
    process: ProcessKey,
    file: FileVersion | None,
    at_ns: int,
) -> RecipeRow | None:
    """Return the row of an answer, whose texts stand as inspection.py gives them."""
    if question.kind in ("python", "system"):
        ecosystem, name, version, location, record, modified = answer
        return PackageRow(
            process, ecosystem, name, version or None, location or None,
            bytes.fromhex(record), modified != "", at_ns,
        )  # fmt: skip
    if question.kind == "code":
        repository, path, change, commit, difference, reason, redacted = answer
        is_tracked = change == "modified"
        kind = wire.CODE_CHANGE_MODIFIED if is_tracked else wire.CODE_CHANGE_UNTRACKED
        return ChangeRow(
            process, repository, path, kind, commit or None, difference or None, reason or None,
            redacted != "", at_ns,
        )  # fmt: skip
    if question.kind == "hub":
        kind_of_repository, repository, revision, reference, name = answer
        if file is None:
            return None
        return OriginRow(
            file, "huggingface", kind_of_repository, repository, revision or None,
            reference or None, name or None, at_ns,
        )  # fmt: skip
    runtime, name, image, digest = answer
    identity = question.path.decode("ascii")
    return ContainerRow(
        identity, runtime or None, name or None, image or None, digest or None, at_ns
    )


def _parts(questions: list[_Question]) -> list[list[_Question]]:
    """Cut questions into parts that one message holds."""
    parts: list[list[_Question]] = []
    weight_bytes = _BYTES_AT_ONCE
    for question in questions:
        weight_bytes += len(question.path) + 1
        if weight_bytes > _BYTES_AT_ONCE or len(parts[-1]) >= _PATHS_AT_ONCE:
            parts.append([])
            weight_bytes = len(question.path) + 1
        parts[-1].append(question)
    return parts
