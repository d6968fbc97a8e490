"""Bytes of the rings to rows and events."""

from __future__ import annotations

import numpy as np
import pytest

from whenced.event import Event, FileKey, events
from whenced.record import PROBE, RECORD, TEXT_HEAD, USE, USE_KEY, Kind, records


def sample(**fields: object) -> bytes:
    row = np.zeros(1, dtype=RECORD)
    for name, value in fields.items():
        row[name] = value
    return row.tobytes()


def test_bytes_become_one_row_a_record() -> None:
    data = sample(sequence=1, kind=Kind.READ) + sample(sequence=2, kind=Kind.WRITE)

    assert records(data)["sequence"].tolist() == [1, 2]
    assert records(data)["kind"].tolist() == [Kind.READ, Kind.WRITE]


def test_a_broken_length_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of element size"):
        records(sample()[:-1])


def test_no_bytes_are_no_records() -> None:
    assert records(b"").size == 0


@pytest.mark.parametrize("dtype", [RECORD, TEXT_HEAD, USE_KEY, USE, PROBE])
def test_layouts_have_no_hidden_padding(dtype: np.dtype[np.void]) -> None:
    fields = sum(dtype[name].itemsize for name in dtype.names or ())

    assert (dtype.itemsize, dtype.itemsize % 8) == (fields, 0)


def test_every_field_of_a_record_has_its_place_in_an_event() -> None:
    names = list(RECORD.names or ())
    data = sample(**{name: i + 1 for i, name in enumerate(names) if name != "name"}, name=b"python")

    (event,) = events(records(data))

    assert list(event) == [*range(1, len(names)), b"python"]


def test_events_keep_the_short_names_of_fields() -> None:
    long = [name.removeprefix("process_").removeprefix("file_") for name in RECORD.names or ()]
    long[long.index("group")] = "process_group"

    assert list(Event._fields) == long


def test_numbers_above_31_bits_keep_their_sign() -> None:
    data = sample(version=(1 << 64) - 1, login_uid=(1 << 32) - 1, fd=-100)

    (event,) = events(records(data))

    assert (event.version, event.login_uid, event.fd) == ((1 << 64) - 1, (1 << 32) - 1, -100)


def test_a_file_is_device_inode_and_generation() -> None:
    (event,) = events(records(sample(file_device=1, file_inode=2, file_generation=3)))

    assert event.file == FileKey(1, 2, 3)
