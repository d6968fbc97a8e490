"""Columns of Python values to Arrow tables; knows neither the database nor their meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

Columns = Mapping[str, Any]  # name -> list or array of numpy or Arrow, all of one length

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
# Type of a column of the database -> type that needs no cast on its way in.
DATABASE_TYPES: dict[str, pa.DataType] = {
    "BIGINT": pa.int64(),
    "BLOB": pa.binary(),
    "BOOLEAN": pa.bool_(),
    "DOUBLE": pa.float64(),
    "INTEGER": pa.int32(),
    "UBIGINT": pa.uint64(),
    "UINTEGER": pa.uint32(),
    "UTINYINT": pa.uint8(),
    "VARCHAR": pa.string(),
    "VARCHAR[]": pa.list_(pa.string()),
}


def arrow_table(columns: Columns) -> pa.Table:
    """Build a table whose types follow the values."""
    return pa.table({name: _arrow_array(values) for name, values in columns.items()})


def typed_table(columns: Columns, schema: pa.Schema) -> pa.Table:
    """Build a table of a schema; a column that is left out becomes NULLs, one at least is not."""
    length = len(next(iter(columns.values())))
    arrays = []
    for field in schema:
        values = columns.get(field.name)
        if values is None:
            arrays.append(pa.nulls(length, field.type))
        elif isinstance(values, pa.Array):
            arrays.append(values.cast(field.type))
        else:
            # pyarrow looks for pandas when it meets an array of objects.
            is_object = isinstance(values, np.ndarray) and values.dtype == np.object_
            arrays.append(pa.array(values.tolist() if is_object else values, field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _arrow_array(values: Any) -> pa.Array:
    """Build an Arrow array; lists get their type here, Arrow's own inference is 20 times slower."""
    if not isinstance(values, list):
        return pa.array(values)
    known = next((value for value in values if value is not None), None)
    return pa.array(values, type=ARROW_TYPES[type(known)])


class Inlet:
    """A source of rows that a prepared statement reads anew each time; only knows its schema."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._table = schema.empty_table()

    def put(self, columns: Columns) -> None:
        """Make these columns what the statement reads next."""
        self._table = typed_table(columns, self.schema)

    def __arrow_c_schema__(self) -> object:
        """Tell the types, as the Arrow C data interface asks for them."""
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Give the rows, as the Arrow C data interface asks for them."""
        return self._table.__arrow_c_stream__(requested_schema)
