"""The digest of a tree of files: what daemon, collector and client must agree on.

A member is (path relative to the folder, BLAKE3-256, size). Members are dealt into 4,096 buckets by
the BLAKE3 of their path; a bucket's digest covers its members in the order of their paths, the
tree's covers the buckets in the order of their numbers. So one changed member of ten million costs
the hashing of about 2,400 others' names and digests, and two trees are compared by 4,096 digests.
Names, sizes and contents count; modes, owners and times do not.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from blake3 import blake3

BUCKETS: Final = 4096
DIGEST_BYTES: Final = 32
PREFIX: Final = "tree:"
_BUCKET_MARK: Final = b"whence tree bucket 1\0"
_TREE_MARK: Final = b"whence tree 1\0"
_LENGTH: Final = struct.Struct("<I")
_SIZE: Final = struct.Struct("<Q")
_PART: Final = struct.Struct("<H")


class Member(NamedTuple):
    """A file of a tree: its path relative to the folder, the digest of its content, its size."""

    path: str
    blake3: bytes
    size_bytes: int


class Bucket(NamedTuple):
    """A part of a tree: the digest of its members, how many they are and how big together."""

    digest: bytes
    members: int
    size_bytes: int


def bucket_of(path: str) -> int:
    """Return the number of the bucket that a member lies in, by its path alone."""
    first, second = blake3(_encoded(path)).digest(2)
    return first << 4 | second >> 4


def bucket(members: Iterable[Member]) -> Bucket:
    """Return the bucket of members that all belong into one, in any order."""
    ordered = sorted((_encoded(member.path), member) for member in members)
    parts = [_BUCKET_MARK, *(packed(member) for _, member in ordered)]
    size_bytes = sum(member.size_bytes for _, member in ordered)
    return Bucket(blake3(b"".join(parts)).digest(), len(ordered), size_bytes)


def packed(member: Member) -> bytes:
    """Return a member as a bucket's digest covers it."""
    raw = _encoded(member.path)
    return _LENGTH.pack(len(raw)) + raw + member.blake3 + _SIZE.pack(member.size_bytes)


def unpacked(data: bytes, at: int) -> tuple[Member, int]:
    """Return the member that is packed at a place, and where the next one begins."""
    (length,) = _LENGTH.unpack_from(data, at)
    digest_at = at + _LENGTH.size + length
    size_at = digest_at + DIGEST_BYTES
    path = data[at + _LENGTH.size : digest_at].decode("utf-8", "surrogateescape")
    (size_bytes,) = _SIZE.unpack_from(data, size_at)
    return Member(path, data[digest_at:size_at], size_bytes), size_at + _SIZE.size


def root(buckets: Mapping[int, Bucket]) -> bytes:
    """Return the digest of a tree from its buckets; those without members are left out."""
    hasher = blake3(_TREE_MARK)
    hasher.update(_SIZE.pack(sum(each.members for each in buckets.values())))
    hasher.update(_SIZE.pack(sum(each.size_bytes for each in buckets.values())))
    for number in sorted(buckets):
        hasher.update(_PART.pack(number) + buckets[number].digest)
    return hasher.digest()


def buckets_of(members: Iterable[Member]) -> dict[int, list[Member]]:
    """Return members by the number of their bucket."""
    dealt: dict[int, list[Member]] = {}
    for member in members:
        dealt.setdefault(bucket_of(member.path), []).append(member)
    return dealt


def name_of(digest: bytes) -> str:
    """Return a digest of a tree as it is written."""
    return PREFIX + digest.hex()


def _encoded(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
