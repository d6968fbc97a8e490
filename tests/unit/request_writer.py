"""A process that files and comments as fast as it can, saying what is durable: to be killed.

Each line on standard output is the number of a record whose act has returned.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.unit.request_place import SEED, Place, agent

from whence_proto.v1 import request_pb2 as wire


def main(folder: Path) -> None:
    """Write until killed."""
    place = Place(folder)
    number = 0
    while True:
        number += 1
        place.now += 1
        if number % 10 == 1:
            place.ask("File", wire.FileRequest(card=SEED), *agent("alice"))
        asked = wire.CommentRequest(target="R-1", text=f"word {number}")
        place.ask("Comment", asked, *agent("alice"))
        print(place.ledger.book.head.number, flush=True)  # noqa: T201 -- it is what it says


if __name__ == "__main__":
    main(Path(sys.argv[1]))
