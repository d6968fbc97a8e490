"""The edge index on disk beside the database, so that a start need not read every access.

Only a shortcut: which state of the database a file speaks of is written in it and compared, and
one that is missing, damaged or of another state is passed over for the table itself.
"""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from whence_collector.id_columns import Ints
    from whence_collector.store import Reader

LOG = logging.getLogger("whence.index")

FORMAT = 1
SAMPLES = 32  # accesses that are compared, spread over the table
STATE = "SELECT coalesce(max(rowid), -1) FROM access"
LEDGER = "SELECT epoch, number, committed_ns FROM batch_ledger ORDER BY epoch"
ROWS = """
SELECT process_id, version_id, path_id, op, bytes, first_unix_ns, last_unix_ns
FROM access WHERE rowid = ?
"""


@dataclass(frozen=True, slots=True)
class Mark:
    """A state of the access table: its last row, and what tells it from other states."""

    row: int
    ledger: bytes  # digest of which batches are stored
    rows: bytes  # digest of some rows


@dataclass(frozen=True, slots=True)
class Kept:
    """Columns of an index, and the last row of access that is in them."""

    columns: Mapping[str, Ints]
    row: int


def mark_of(reader: Reader) -> Mark:
    """Return the state that a transaction sees."""
    row = int(reader.rows(STATE)[0][0])
    return Mark(row, _digest(reader.rows(LEDGER)), _rows_digest(reader, row))


def save(path: Path, columns: Mapping[str, Ints], mark: Mark) -> None:
    """Write a file in place of the last one; a disk that refuses costs the next start time."""
    beside = path.with_name(path.name + ".new")
    arrays: dict[str, Any] = {f"column_{name}": column for name, column in columns.items()}
    arrays["format"] = np.array([FORMAT, mark.row])
    arrays["ledger"] = np.frombuffer(mark.ledger, np.uint8)
    arrays["rows"] = np.frombuffer(mark.rows, np.uint8)
    try:
        with beside.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        LOG.warning("%s was not written (%s): the next start reads all accesses", path, error)
        with suppress(OSError):
            beside.unlink()


def load(path: Path, reader: Reader) -> Kept | None:
    """Return the columns of a file that speaks of this database, None where there is none.

    Rows of access may have come since: those beyond Kept.row.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
        version, row = held["format"].tolist()
        mark = Mark(row, held["ledger"].tobytes(), held["rows"].tobytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        LOG.warning("%s is damaged (%s): all accesses are read", path, error)
        return None
    if version != FORMAT or not _speaks_of(reader, mark):
        LOG.info("%s is of another state of the database: all accesses are read", path)
        return None
    prefix = "column_"
    columns = {name.removeprefix(prefix): held[name] for name in held if name.startswith(prefix)}
    # The same batches: nothing came, whatever numbers the rows have now.
    row = mark_of(reader).row if _digest(reader.rows(LEDGER)) == mark.ledger else mark.row
    return Kept(columns, row)


def _speaks_of(reader: Reader, mark: Mark) -> bool:
    """Tell whether nothing but additions came since; old rows that were folded move others."""
    if _digest(reader.rows(LEDGER)) == mark.ledger:
        return True
    highest = int(reader.rows(STATE)[0][0])
    return highest >= mark.row and _rows_digest(reader, mark.row) == mark.rows


def _rows_digest(reader: Reader, last: int) -> bytes:
    places = sorted({last * nth // SAMPLES for nth in range(SAMPLES + 1)}) if last >= 0 else []
    return _digest([reader.rows(ROWS, (place,)) for place in places])


def _digest(rows: object) -> bytes:
    return hashlib.blake2b(repr(rows).encode(), digest_size=32).digest()
