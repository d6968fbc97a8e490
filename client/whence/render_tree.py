"""A lineage graph → a tree for people, or the text of Graphviz or Mermaid. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from whence.model import Lineage, LineageFile, Run
from whence.page import Page, labelled
from whence.render import STATUS_LOOKS, class_rank, complete_lines, content_cell, outcome
from whence.text import ago_text, brief_command, cells, clip, clip_start, short_run, size_text

# A line that is indented deeper than this would have no room left for names.
_DEEPEST_CELLS = 42


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes by key (run id or file key) and, for each, the keys next on the walk."""

    runs: Mapping[str, Run]
    files: Mapping[str, LineageFile]
    following: Mapping[str, Sequence[str]]
    roots: Sequence[str]


def walk_graph(lineage: Lineage, downstream: bool) -> Graph:
    """Return the graph with edges in the direction of the walk: against or with the data."""
    runs = {run.run_id: run for run in lineage.runs}
    files = {file.key: file for file in lineage.files}
    following: dict[str, dict[str, None]] = defaultdict(dict)
    for edge in lineage.edges:
        source, target = _ends(edge.run_id, edge.file_key, edge.to_run_id, edge.write)
        here, there = (source, target) if downstream else (target, source)
        following[here][there] = None
    listed = {key: list(keys) for key, keys in following.items()}
    return Graph(runs, files, listed, _roots(lineage, runs, files, listed))


def _ends(run_id: str, file_key: str | None, to_run_id: str | None, write: bool) -> tuple[str, str]:
    """Return (from, to) in the direction of the data."""
    if file_key is None:
        return run_id, to_run_id or ""
    return (run_id, file_key) if write else (file_key, run_id)


def _roots(
    lineage: Lineage,
    runs: Mapping[str, Run],
    files: Mapping[str, LineageFile],
    following: Mapping[str, Sequence[str]],
) -> list[str]:
    nodes = [*files, *runs]
    exact = [key for key in nodes if key == lineage.start]
    if exact:
        return exact
    alike = [f.key for f in files.values() if f.digest == lineage.start]
    reached = {key for keys in following.values() for key in keys}
    return alike or [key for key in nodes if key not in reached]


def tree_lines(
    page: Page, lineage: Lineage, downstream: bool, name: str | None = None
) -> list[str]:
    """Return the graph as a tree from its start; a node with branches is spelled out once.

    name: what the start was asked by; the same content has many names.
    """
    graph = walk_graph(lineage, downstream)
    lines: list[str] = []
    told: set[str] = set()
    # A stack, not recursion: a chain of runs may be thousands long.
    stack = [(key, "", "") for key in reversed(graph.roots)]
    while stack:
        key, lead, indent = stack.pop()
        branches = _branches(graph, key)
        again = key in told and bool(branches)
        lines.append(_tree_line(page, graph, key, lead, "  (see above)" if again else "", name))
        if key in told:
            continue
        told.add(key)
        for number, branch in enumerate(reversed(branches)):
            tip, below = ("└─ ", "   ") if number == 0 else ("├─ ", "│  ")
            stack.append((branch, _deeper(indent, tip), _deeper(indent, below)))
    return lines + _remarks(page, lineage)


def _branches(graph: Graph, key: str) -> list[str]:
    """Return the nodes next to one, data before code and configuration."""
    known = [k for k in graph.following.get(key, ()) if k in graph.runs or k in graph.files]
    return sorted(known, key=lambda k: class_rank(graph.files[k].class_) if k in graph.files else 0)


def _deeper(indent: str, step: str) -> str:
    """Return the indent one level deeper, its start replaced by … beyond the deepest."""
    text = indent + step
    return text if len(text) <= _DEEPEST_CELLS else "…" + text[len(step) + 1 :]


def _tree_line(page: Page, graph: Graph, key: str, lead: str, tail: str, name: str | None) -> str:
    room = None if page.width is None else max(page.width - len(lead), 20)
    if key in graph.runs:
        text = _run_text(page, graph.runs[key], tail, room)
    else:
        file = graph.files[key]
        text = _file_text(page, file, name if name and not lead else file.path, tail, room)
    return page.paint(lead, "faint") + text


def _run_text(page: Page, run: Run, tail: str, room: int | None) -> str:
    command = brief_command(run.command)
    facts = f"  {short_run(run.run_id)} · "
    state = outcome(run)
    ago = f" · {ago_text(run.started_unix_ns, page.now_unix_ns)}{tail}"
    used = cells(facts) + cells(state) + cells(ago)
    # The command tells more than its age.
    if room is not None and cells(command) + used > room:
        used, ago = used - cells(ago) + cells(tail), tail
    command = command if room is None else clip(command, max(room - used, 16))
    rest = page.paint(facts, "faint") + page.paint(state, STATUS_LOOKS.get(run.status, "plain"))
    return page.paint(command, "strong") + rest + page.paint(ago, "faint")


def _file_text(page: Page, file: LineageFile, name: str, tail: str, room: int | None) -> str:
    parts = [content_cell(file.digest, file.state).text]
    parts += [size_text(file.size_bytes)] if file.size_bytes is not None else []
    parts += ["root data" if file.class_ == "data" else f"root {file.class_}"] if file.root else []
    rest = "".join(f"  {part}" for part in parts) + tail
    name = name if room is None else clip_start(name, max(room - cells(rest), 16))
    return name + page.paint(rest, "faint")


def _remarks(page: Page, lineage: Lineage) -> list[str]:
    lines = []
    if lineage.truncated:
        lines.append("the walk was cut: raise --limit or ask from a node further on")
    if not lineage.complete:
        reasons = lineage.incomplete_reasons or ("the reason is not known",)
        lines += labelled(page, "complete", complete_lines(page, False, reasons))
    return ["", *lines] if lines else []


def dot_text(lineage: Lineage) -> str:
    """Return a Graphviz digraph: runs are boxes, files are notes, arrows follow the data."""
    lines = ["digraph whence {", "  rankdir=LR;"]
    names = _node_names(lineage)
    for run in lineage.runs:
        label = _dot_escape(
            f"{clip(brief_command(run.command), 60)}\n{short_run(run.run_id)} {outcome(run)}"
        )
        lines.append(f'  {names[run.run_id]} [shape=box, label="{label}"];')
    for file in lineage.files:
        label = _dot_escape(f"{file.path}\n{content_cell(file.digest, file.state).text}")
        lines.append(f'  {names[file.key]} [shape=note, label="{label}"];')
    lines += [f"  {source} -> {target};" for source, target in _arrows(lineage, names)]
    return "\n".join([*lines, "}"])


def mermaid_text(lineage: Lineage) -> str:
    """Return a Mermaid flowchart with the same nodes and arrows."""
    lines = ["flowchart LR"]
    names = _node_names(lineage)
    for run in lineage.runs:
        label = _mermaid_escape(f"{clip(brief_command(run.command), 60)} · {short_run(run.run_id)}")
        lines.append(f'  {names[run.run_id]}["{label}"]')
    for file in lineage.files:
        label = _mermaid_escape(f"{file.path} · {content_cell(file.digest, file.state).text}")
        lines.append(f'  {names[file.key]}(["{label}"])')
    lines += [f"  {source} --> {target}" for source, target in _arrows(lineage, names)]
    return "\n".join(lines)


def _node_names(lineage: Lineage) -> dict[str, str]:
    runs = {run.run_id: f"run{number}" for number, run in enumerate(lineage.runs)}
    return runs | {file.key: f"file{number}" for number, file in enumerate(lineage.files)}


def _arrows(lineage: Lineage, names: Mapping[str, str]) -> list[tuple[str, str]]:
    ends = [_ends(e.run_id, e.file_key, e.to_run_id, e.write) for e in lineage.edges]
    known = [(names[a], names[b]) for a, b in ends if a in names and b in names]
    return list(dict.fromkeys(known))


def _dot_escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _mermaid_escape(text: str) -> str:
    # Mermaid reads #NAME; as an entity, and <, > and quotes as markup.
    for letter, word in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;")):
        text = text.replace(letter, word)
    return text.replace("`", "#96;")
