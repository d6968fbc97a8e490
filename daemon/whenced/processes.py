"""Processes: kernel records to process keys, images and their rows. Pure state.

Reads no procfs and knows no files; what only the host can say (user names,
control group paths, arguments of processes that ran before) is given.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from whence_proto.v1 import ingest_pb2
from whenced.environment import Variables, variables_of
from whenced.record import Flag
from whenced.redact import redact_arguments
from whenced.rows import EndRow, EnvironmentRow, ProcessKey, StartRow, text_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from whenced.event import Event
    from whenced.rows import FileVersion
    from whenced.text import Texts

# Its last counts, answers of the hasher and the kernel's account of it come after the end of a
# process: within moments, once everything of before has been taken.
_REMEMBER_ENDED_NS: Final = 20_000_000_000
_SETTLED_NS: Final = 2_000_000_000
# Of so many, those that are settled are forgotten at once: a flood of processes has 5,000 a second.
_MANY_ENDED: Final = 1_000
_ANCESTORS: Final = 64  # that are kept and told


class Names(Protocol):
    """What only the host can name."""

    def user(self, uid: int) -> str | None:
        """Name of a user id."""

    def cgroup(self, cgroup_id: int) -> str | None:
        """Path of a control group."""

    def arguments(self, tgid: int) -> tuple[bytes, ...]:
        """Arguments of a running process, from procfs: only for those from before the start."""

    def environment(self, tgid: int) -> bytes:
        """Environment block of such a process."""


@dataclass(slots=True)
class Life:
    """One process id from its fork to its end."""

    birth_exec_id: int  # exec_id of image 0 before its first exec
    row: StartRow  # of the newest image
    variables: Variables | None = None  # of the newest image, None where not known
    ended_ns: int | None = None
    # Who forked it, kept while it lives: an ancestry outlasts the processes that it goes through.
    parent: Life | None = None
    depth: int = 0
    keys: dict[int, ProcessKey] = field(default_factory=dict)  # by exec_id, as they are asked for

    def image(self, exec_id: int) -> int:
        """The time between fork and first exec belongs to image 0, as that exec does."""
        return max(0, exec_id - self.birth_exec_id - 1)


# Of a life whose fork nobody saw: its image is its exec_id then, which is the same for each daemon
# that finds it and greater than any number that a daemon which saw its fork gave it.
_UNSEEN_BIRTH: Final = -1


class Processes:
    """Every live process in scope, and those that ended a moment ago."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._lives: dict[tuple[int, int], Life] = {}
        self._newest: dict[int, Life] = {}  # by tgid
        self._ended: deque[tuple[int, tuple[int, int]]] = deque()
        self._forked: dict[ProcessKey, StartRow] = {}
        self._rows: list[StartRow | EndRow | EnvironmentRow] = []

    def __len__(self) -> int:
        return len(self._lives)

    @property
    def waiting(self) -> int:
        """Rows that take_rows() would give."""
        return len(self._forked) + len(self._rows)

    def ancestry(self, tgid: int) -> list[Life]:
        """The living process of an id, who forked it, and so on; empty for one never met.

        Any thread may ask. The parents are those of the forks: who was adopted since is no one's
        child here.
        """
        found = [
            life
            for key, life in list(self._lives.items())
            if key[0] == tgid and life.ended_ns is None
        ]
        chain = [max(found, key=lambda life: life.row.process.start_ns)] if found else []
        while chain and len(chain) <= _ANCESTORS:
            last = chain[-1]
            above = last.parent
            if above is None and last.row.parent is not None:
                above = self._lives.get((last.row.parent.tgid, last.row.parent.start_ns))
            if above is None:
                break
            chain.append(above)
        return chain

    def living_below(self, roots: Collection[tuple[int, int]]) -> list[tuple[int, int]]:
        """(tgid, start_ns) of who lives and is one of these processes or was started below one.

        Any thread may ask. By the forks: who left its parent, or outlived it, still counts.
        """
        return [
            key
            for key, life in list(self._lives.items())
            if life.ended_ns is None and self._is_below(life, roots)
        ]

    def _is_below(self, life: Life, roots: Collection[tuple[int, int]]) -> bool:
        above: Life | None = life
        for _ in range(_ANCESTORS + 1):
            if above is None:
                return False
            if above.row.process[:2] in roots:
                return True
            parent = above.row.parent
            above = above.parent or (
                None if parent is None else self._lives.get((parent.tgid, parent.start_ns))
            )
        return False

    def take_rows(self) -> list[StartRow | EndRow | EnvironmentRow]:
        """Rows since the last call; a fork that became an exec is one row."""
        rows: list[StartRow | EndRow | EnvironmentRow] = [*self._forked.values(), *self._rows]
        self._forked, self._rows = {}, []
        return rows

    def key(self, tgid: int, start_ns: int, exec_id: int) -> ProcessKey | None:
        """Identity of a process that a record names; None when it was never introduced."""
        life = self._lives.get((tgid, start_ns))
        if life is None:
            return None
        key = life.keys.get(exec_id)
        if key is None:
            key = life.keys[exec_id] = ProcessKey(tgid, start_ns, life.image(exec_id))
        return key

    def key_of(self, event: Event) -> ProcessKey:
        """Identity of an event's process, introducing it when its beginning was not seen."""
        start_ns, tgid, exec_id = event[2:5]
        life = self._lives.get((tgid, start_ns))
        if life is not None and (key := life.keys.get(exec_id)) is not None:
            return key
        return self.key(tgid, start_ns, exec_id) or self._introduce(event)

    def newest(self, tgid: int) -> StartRow | None:
        """The program that a process id of the initial pid namespace runs, or ran last."""
        life = self._newest.get(tgid)
        return None if life is None else life.row

    def newest_of(self, process: ProcessKey) -> StartRow | None:
        """The newest image of the process id that a program is, or was, an image of."""
        life = self._lives.get((process.tgid, process.start_ns))
        return None if life is None else life.row

    def user(self, uid: int) -> str | None:
        """Name of a user id."""
        return self._names.user(uid)

    def cgroup_of(self, event: Event) -> str | None:
        """Path of the control group that an event happened in."""
        return self._names.cgroup(event.cgroup_id)

    def on_fork(self, event: Event) -> None:
        """A child: it runs what its parent runs."""
        parent = self._lives.get((event.other_tgid, event.other_start_ns))
        parent_key = self.key(event.other_tgid, event.other_start_ns, event.other_exec_id)
        key = ProcessKey(event.tgid, event.start_ns, 0)
        row = self._described(event, key, parent_key, ingest_pb2.PROCESS_ORIGIN_FORK)
        if parent is not None:
            inherited = parent.row
            row = row._replace(
                exe=inherited.exe,
                exe_file=inherited.exe_file,
                script=inherited.script,
                arguments=inherited.arguments,
                arguments_truncated=inherited.arguments_truncated,
                cwd=inherited.cwd,
            )
        variables = None if parent is None else parent.variables
        life = self._enter(Life(event.exec_id, row, variables))
        # A program that forks itself on and on and leaves would keep a chain without an end.
        if parent is not None and parent.depth < _ANCESTORS:
            life.parent, life.depth = parent, parent.depth + 1
        self._forked[key] = row

    def on_exec(self, event: Event, texts: Texts, exe_file: FileVersion) -> ProcessKey:
        """A new program: image 0 for the first exec after a fork, else the next image."""
        life = self._lives.get((event.tgid, event.start_ns))
        if life is None:
            life = self._born_before(event)
        key = ProcessKey(event.tgid, event.start_ns, life.image(event.exec_id))
        if key.image > life.row.process.image:
            self._rows.append(EndRow(life.row.process, event.at_ns, replaced=True))
        # who forked it, not who adopted it since
        parent = life.row.parent
        if parent is None:
            parent = self.key(event.other_tgid, event.other_start_ns, event.other_exec_id)
        row = self._described(event, key, parent, ingest_pb2.PROCESS_ORIGIN_EXEC)
        life.row = _with_program(row, event, texts)._replace(exe_file=exe_file)
        self._forked.pop(key, None)
        self._rows.append(life.row)
        raw = texts.environment()
        if raw is not None:
            truncated = bool(event.flags & Flag.ENV_TRUNCATED)
            self._tell_environment(life, variables_of(raw), truncated=truncated)
        return key

    def _tell_environment(self, life: Life, variables: Variables, *, truncated: bool) -> None:
        """Nothing is told of what a program has from the one before it, or from its parent."""
        if variables != life.variables:
            life.variables = variables
            self._rows.append(EnvironmentRow(life.row.process, variables, truncated))

    def on_exit(self, event: Event) -> ProcessKey | None:
        """The end; None when it is known already (two last threads) or nobody met the process."""
        life = self._lives.get((event.tgid, event.start_ns))
        if life is None or life.ended_ns is not None:
            return None
        life.ended_ns = event.at_ns
        self._ended.append((event.at_ns, (event.tgid, event.start_ns)))
        signal = event.value & 0x7F
        code = event.value >> 8 & 0xFF
        key = life.row.process
        self._rows.append(EndRow(key, event.at_ns, code, signal))
        return key

    def on_seen(self, event: Event, texts: Texts, exe_file: FileVersion | None) -> None:
        """A process from before the start; live records of the same process win."""
        if (event.tgid, event.start_ns) in self._lives:
            return
        key = ProcessKey(event.tgid, event.start_ns, event.exec_id)
        parent = self.key(event.other_tgid, event.other_start_ns, event.other_exec_id)
        row = self._described(event, key, parent, ingest_pb2.PROCESS_ORIGIN_SNAPSHOT)
        arguments = self._names.arguments(event.tgid)
        row = _with_program(row, event, texts)._replace(
            exe_file=exe_file,
            at_ns=event.start_ns,
            arguments=_clean(arguments),
        )
        life = self._enter(Life(_UNSEEN_BIRTH, row))
        self._rows.append(row)
        self._find_environment(life, event.tgid)

    def living(self) -> dict[tuple[int, int], int]:
        """(tgid, start_ns) of who lives by the records -> boot ns of the birth.

        Who was introduced by a walk, or late by a touch, was born at its start.
        """
        return {life: life[1] for life, state in self._lives.items() if state.ended_ns is None}

    def born(self, tgid: int, start_ns: int) -> ProcessKey | None:
        """Newest image of a process whose fork was seen, else None."""
        life = self._lives.get((tgid, start_ns))
        known = life is not None and life.birth_exec_id != _UNSEEN_BIRTH
        return life.row.process if known and life is not None else None

    def found_alive(self, tgid: int, start_ns: int, exec_id: int, uid: int) -> ProcessKey:
        """A process that a walk found and nobody introduced."""
        key = ProcessKey(tgid, start_ns, exec_id)
        origin = ingest_pb2.PROCESS_ORIGIN_SNAPSHOT
        arguments = _clean(self._names.arguments(tgid))
        user = self._names.user(uid)
        row = StartRow(key, None, start_ns, origin, arguments=arguments, uid=uid, user=user)
        life = self._lives[tgid, start_ns] = Life(_UNSEEN_BIRTH, row)
        self._rows.append(row)
        self._find_environment(life, tgid)
        return key

    def end_unseen(self, tgid: int, start_ns: int, at_ns: int) -> ProcessKey | None:
        """A process that a walk did not find any more; no row: how it ended nobody saw."""
        life = self._lives.get((tgid, start_ns))
        if life is None or life.ended_ns is not None:
            return None
        life.ended_ns = at_ns
        self._ended.append((at_ns, (tgid, start_ns)))
        return life.row.process

    def forget_ended(self, now_ns: int, settled_ns: int) -> list[ProcessKey]:
        """Drop processes whose last aggregates must have arrived; return every image of them.

        ``settled_ns``: every record and count of before has been taken.
        """
        forgotten: list[ProcessKey] = []
        settled_ns -= _SETTLED_NS
        old_ns = min(now_ns - _REMEMBER_ENDED_NS, settled_ns)
        while self._ended and self._ended[0][0] < (
            settled_ns if len(self._ended) > _MANY_ENDED else old_ns
        ):
            life = self._lives.pop(self._ended.popleft()[1], None)
            if life is not None:
                last = life.row.process
                if self._newest.get(last.tgid) is life:
                    del self._newest[last.tgid]
                forgotten.extend(last._replace(image=image) for image in range(last.image + 1))
        return forgotten

    def _enter(self, life: Life) -> Life:
        tgid, start_ns, _ = life.row.process
        self._lives[tgid, start_ns] = life
        newest = self._newest.get(tgid)
        if newest is None or newest.row.process.start_ns <= start_ns:
            self._newest[tgid] = life
        return life

    def _introduce(self, event: Event) -> ProcessKey:
        """A process that entered the scope alive, or whose fork was lost."""
        life = self._born_before(event)
        self._rows.append(life.row)
        self._find_environment(life, event.tgid)
        return life.row.process

    def _find_environment(self, life: Life, tgid: int) -> None:
        if raw := self._names.environment(tgid):
            self._tell_environment(life, variables_of(raw), truncated=False)

    def _born_before(self, event: Event) -> Life:
        key = ProcessKey(event.tgid, event.start_ns, event.exec_id)
        row = StartRow(
            key,
            None,
            event.start_ns,
            ingest_pb2.PROCESS_ORIGIN_SNAPSHOT,
            arguments=_clean(self._names.arguments(event.tgid)),
            uid=event.uid,
            mount_namespace=event.mount_ns,
        )
        return self._enter(Life(_UNSEEN_BIRTH, row))

    def _described(
        self, event: Event, key: ProcessKey, parent: ProcessKey | None, origin: int
    ) -> StartRow:
        return StartRow(
            key,
            parent,
            event.at_ns,
            origin,
            uid=event.uid,
            user=self._names.user(event.uid),
            login_uid=event.login_uid,
            session=event.session,
            process_group=event.process_group,
            terminal=event.terminal,
            cgroup=self._names.cgroup(event.cgroup_id),
            mount_namespace=event.mount_ns,
            pid_namespace=event.pid_ns,
            command_name=text_of(event.name),
        )


def _with_program(row: StartRow, event: Event, texts: Texts) -> StartRow:
    path, cwd, script = texts.path(), texts.cwd(), texts.script()
    return row._replace(
        exe=None if path is None else text_of(path),
        script=None if script is None else text_of(script),
        arguments=_clean(texts.arguments()),
        arguments_truncated=bool(event.flags & Flag.ARGS_TRUNCATED),
        cwd=None if cwd is None else text_of(cwd),
    )


def _clean(arguments: tuple[bytes, ...]) -> tuple[str, ...]:
    """Arguments without secrets: nothing else may ever be stored or sent."""
    return redact_arguments([text_of(argument) for argument in arguments])
