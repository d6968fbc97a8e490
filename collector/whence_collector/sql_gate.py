"""What stands between a stranger's SQL and the database: one SELECT over the stable views.

Five layers: settings of the instance (store.py); one statement of type SELECT; its syntax tree
reads nothing but the views; a read-only transaction with a time limit (store.py); caps on rows
and bytes. None of them bounds the memory of one huge value, so all of it runs in a process that
has a hard limit and a copy (sql_worker.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Protocol

from whence_collector.database import SqlCursor
from whence_collector.errors import QueryRefused, QueryTooLong

STABLE_VIEWS = (
    "runs",
    "processes",
    "file_accesses",
    "artifacts",
    "run_inputs",
    "run_outputs",
    "run_dependencies",
    "run_environment",
    "run_seeds",
    "run_hosts",
    "run_units",
    "run_packages",
    "run_code_changes",
    "run_interpreters",
    "run_gpu_libraries",
    "artifact_origins",
    "containers",
    "hosts",
    "gpu_holds",
    "spend",
    "spend_violations",
    "gpu_activity",
    "gpu_faults",
    "requests",
    "decisions",
    "request_runs",
    "request_remarks",
    "audit",
    "unobserved_times",
    "run_proofs",
    "losses",
    "tags",
    "metrics",
    "trees",
    "run_trees",
    "run_recipes",
    "duplicates",
)
TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest"})
# They change something, tell about this host, or make one value of any size from a short text.
REFUSED_FUNCTIONS = frozenset(
    {
        "array_resize",
        "checkpoint",
        "current_setting",
        "currval",
        "force_checkpoint",
        "getenv",
        "getvariable",
        "list_resize",
        "lpad",
        "nextval",
        "query",
        "query_table",
        "repeat",
        "rpad",
        "setseed",
        "write_log",
    }
)
BYTE_CAP = 512 << 20

Tree = dict[str, Any]


class Lending(Protocol):
    """What lends cursors for ad-hoc SQL."""

    def sql_cursor(self) -> AbstractContextManager[SqlCursor]:
        """Lend a cursor for as long as the context lasts."""


def run_select(store: Lending, query: str, max_rows: int) -> tuple[list[str], Iterator[str]]:
    """Run one SELECT; return its column names and an iterator of rows, each a JSON array.

    The iterator ends after max_rows rows; ask for one more than wanted to learn whether there
    are more. Both this call and the iterator block and hold one pooled cursor until the iterator
    is exhausted or closed. Raises QueryRefused, QueryInvalid or QueryTooLong.
    """
    with ExitStack() as stack:
        cursor = stack.enter_context(store.sql_cursor())
        text = admit(cursor, query)
        described = cursor.select(f"DESCRIBE SELECT * FROM (\n{text}\n)")  # noqa: S608 -- admitted
        columns = [str(row[0]) for row in described]
        rows = _json_rows(stack.pop_all(), cursor, _as_json(text, len(columns), max_rows))
    next(rows)  # from here on, closing the iterator gives the cursor back
    return columns, rows


def admit(cursor: SqlCursor, query: str) -> str:
    """Return the text of the one SELECT that the query is.

    Raises QueryRefused where it is more than that or reads more than the views, QueryInvalid
    where it does not parse.
    """
    if "\0" in query:
        # DuckDB's parser and its syntax tree end at different places of such a text.
        raise QueryRefused("the query holds a NUL character; leave it out")
    statements = cursor.statements(query)
    if len(statements) != 1:
        raise QueryRefused(f"the query holds {len(statements)} statements; send exactly one SELECT")
    kind, text = statements[0][0], statements[0][1].strip().removesuffix(";")
    if kind != "SELECT":
        raise QueryRefused(f"a {kind} statement is refused; send a SELECT")
    tree = json.loads(cursor.syntax_tree(text))
    if tree.get("error"):
        raise QueryRefused(f"the query is refused ({tree['error_message']}); send a plain SELECT")
    _check(tree, frozenset())
    return text


def _check(node: Any, visible: frozenset[str]) -> None:
    """Walk a syntax tree; visible holds the names of WITH that can be read here."""
    if isinstance(node, list):
        for each in node:
            _check(each, visible)
    elif isinstance(node, dict):
        if isinstance(node.get("cte_map"), dict):
            names = (str(entry["key"]).lower() for entry in node["cte_map"]["map"])
            visible = visible.union(names)
        _check_node(node, visible)
        for each in node.values():
            _check(each, visible)


def _check_node(node: Tree, visible: frozenset[str]) -> None:
    kind = node.get("type")
    if kind == "BASE_TABLE":
        _check_table(node, visible)
    elif kind == "SHOW_REF" and (node.get("table_name") or not node.get("query")):
        raise QueryRefused(f"SHOW is refused; the views are {', '.join(STABLE_VIEWS)}")
    elif kind == "TABLE_FUNCTION":
        name = str(node["function"].get("function_name", "")).lower()
        if name not in TABLE_FUNCTIONS:
            raise QueryRefused(f"table function {name} is refused; read the stable views")
    elif node.get("class") == "FUNCTION":
        name = str(node.get("function_name", "")).lower()
        if name in REFUSED_FUNCTIONS:
            raise QueryRefused(f"function {name} is refused; leave it out")


def _check_table(node: Tree, visible: frozenset[str]) -> None:
    name = str(node.get("table_name", "")).lower()
    qualified = node.get("catalog_name") or node.get("schema_name") not in ("", None, "main")
    if qualified or (name not in STABLE_VIEWS and name not in visible):
        raise QueryRefused(
            f"table {name!r} cannot be read; the views are {', '.join(STABLE_VIEWS)}"
        )


def _as_json(text: str, columns: int, max_rows: int) -> str:
    """Let the database write each row as JSON: it knows how to write every type of its own."""
    names = ", ".join(f"c{position}" for position in range(columns))
    # The line break ends a comment that the query may end with.
    return (
        f"SELECT json_array({names})::VARCHAR FROM (\n{text}\n) "  # noqa: S608 -- admitted
        f"AS answer({names}) LIMIT {int(max_rows)}"
    )


def _json_rows(stack: ExitStack, cursor: SqlCursor, query: str) -> Iterator[str]:
    with stack:
        yield ""
        sent_bytes = 0
        for (row,) in cursor.select(query):
            sent_bytes += len(row)
            if sent_bytes > BYTE_CAP:
                raise QueryTooLong(f"the answer is larger than {BYTE_CAP >> 20} MiB; select less")
            yield _strict(row)


def _strict(row: str) -> str:
    """Write NaN and infinities, which JSON does not have, as null."""
    if "NaN" not in row and "Infinity" not in row:
        return row
    return json.dumps(json.loads(row, parse_constant=lambda _: None), separators=(",", ":"))
