"""Columns of Python values to Arrow tables; knows neither the database nor their meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

Columns = Mapping[str, Any]  # name -> list or numpy array, all of one length

# Type of the first value that is known -> type of the column.
ARROW_TYPES: dict[type, pa.DataType] = {
    bool: pa.bool_(),
    bytes: pa.binary(),
    float: pa.float64(),
    int: pa.int64(),
    list: pa.list_(pa.string()),
    str: pa.string(),
    tuple: pa.list_(pa.string()),
    type(None): pa.null(),
}


def arrow_table(columns: Columns) -> pa.Table:
    """Build a table; a column that is None becomes NULLs, and one at least is not."""
    length = len(next(values for values in columns.values() if values is not None))
    return pa.table(
        {
            name: pa.nulls(length) if values is None else _arrow_array(values)
            for name, values in columns.items()
        }
    )


def _arrow_array(values: Any) -> pa.Array:
    """Build an Arrow array; lists get their type here, Arrow's own inference is 20 times slower."""
    if not isinstance(values, list):
        return pa.array(values)
    known = next((value for value in values if value is not None), None)
    return pa.array(values, type=ARROW_TYPES[type(known)])
