"""What a card names by a path of this host gets the digest of what is there.

A file's digest, or that of a folder's tree: what the card means is then fixed, whatever the path
holds later.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from whence.content import hash_file
from whence.folder import members_of, tree_of

if TYPE_CHECKING:
    from whence_proto.v1 import request_pb2 as wire


def with_digests(card: wire.Card) -> list[str]:
    """Fill in the digests of paths that are there; return what was filled in, in sentences.

    Raises UnreadableFileError for what is there and cannot be read.
    """
    refs = [*card.datasets, *([card.base_model] if card.HasField("base_model") else [])]
    remarks = []
    for ref in refs:
        place = ref.uri or ref.name
        if ref.digest or not place or "://" in place or not Path(place).exists():
            continue
        ref.digest = _digest(place)
        kind, _, digits = ref.digest.partition(":")
        ref.uri, ref.name = str(Path(place).absolute()), ref.name or Path(place).name
        remarks.append(f"{place} is {kind}:{digits[:12]} now, and asked for as that")
    return remarks


def _digest(place: str) -> str:
    if Path(place).is_dir():
        return tree_of(members_of(place))[0]
    return hash_file(place).digest
