"""Small jobs as people write them, and the questions that the tests ask about them.

Runs are named by the files that they wrote: identities differ in every run of a test.
"""

from __future__ import annotations

from pathlib import Path

import blake3
from tests.asking import Whence

Rows = set[tuple[object, ...]]

# Reads every input whole, writes one output: the least that a stage of a pipeline does.
STAGE = """\
import sys

output, *inputs = sys.argv[1:]
content = b"".join(open(name, "rb").read() for name in inputs)
with open(output, "wb") as out:
    out.write(output.encode() + b": " + content)
"""

# More than 64 bytes: below that, equal content is no evidence of lineage.
RAW = b"".join(b"%04d,%d\n" % (row, row * row % 97) for row in range(40))


def digest_of(content: bytes) -> str:
    """Return the name that whence gives to this content."""
    return f"blake3:{blake3.blake3(content).hexdigest()}"


def digest_of_file(path: Path) -> str:
    """Return the name that whence gives to what the file holds now."""
    return digest_of(path.read_bytes())


def write_job(place: Path, **files: str | bytes) -> None:
    """Write stage.py, and each keyword as a file (`raw_csv` becomes raw.csv)."""
    for keyword, content in {"stage_py": STAGE, **files}.items():
        stem, _, suffix = keyword.rpartition("_")
        path = place / (f"{stem}.{suffix}" if stem else suffix)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def below(place: Path, column: str = "path") -> str:
    """Return the SQL condition for "this file is in the job's folder"."""
    return f"starts_with({column}, '{place}/')"


def rows(whence: Whence, columns: str, views: str, *conditions: str) -> Rows:
    """Return the distinct rows of a SELECT; a column named "…path" gives its last part."""
    where = " AND ".join(conditions)
    query = f"SELECT DISTINCT {columns} FROM {views} WHERE {where}"  # noqa: S608 - our own words
    return {
        tuple(
            Path(value).name if "path" in column and value else value
            for column, value in row.items()
        )
        for row in whence.sql(query)
    }


def dependencies(whence: Whence, place: Path) -> Rows:
    """Return (file written by the later run, file written by the run it depends on)."""
    return rows(
        whence,
        "later.path AS later_path, earlier.path AS earlier_path",
        "run_dependencies AS edge"
        " JOIN run_outputs AS later ON later.run_id = edge.child_run_id"
        " JOIN run_outputs AS earlier ON earlier.run_id = edge.parent_run_id",
        below(place, "later.path"),
        below(place, "earlier.path"),
    )


def made_from(whence: Whence, place: Path) -> Rows:
    """Return (output, input) of each run; code is left out."""
    return rows(
        whence,
        "made.path AS output_path, used.path AS input_path",
        "run_outputs AS made JOIN run_inputs AS used USING (run_id)",
        below(place, "made.path"),
        below(place, "used.path"),
        "NOT regexp_matches(used.path, '(\\.py|\\.sh|/Makefile)$')",
    )


def inputs_named(whence: Whence, path: Path) -> Rows:
    """Return (digest, state) of each version of the path that a run read."""
    return rows(whence, "artifact, artifact_state", "run_inputs", f"path = '{path}'")


def outputs_named(whence: Whence, path: Path) -> Rows:
    """Return (digest, state) of each version that a run left under the path."""
    return rows(whence, "artifact, artifact_state", "run_outputs", f"path = '{path}'")


def runs_writing(whence: Whence, place: Path, columns: str) -> Rows:
    """Return columns of `runs` for each run that wrote below the folder."""
    views = "runs JOIN file_accesses USING (run_id)"
    return rows(whence, columns, views, "op = 'write'", below(place))
