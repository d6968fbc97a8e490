"""Texts: paths from components, strings joined to directories, claims and what is forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.daemon_samples import store_of, walked

from whenced.record import Part
from whenced.text import Texts, TextStore, arguments_of, joined, path_of

NAMES = st.binary(min_size=1, max_size=20).filter(lambda b: not set(b) & set(b"\0/"))


@pytest.mark.parametrize(
    ("components", "path"),
    [
        (b"", b"/"),
        (b"/\0", b"/"),
        (b"model.pt\0", b"/model.pt"),
        (b"model.pt\0out\0home\0", b"/home/out/model.pt"),
        (b"model.pt\0home\0/\0", b"/home/model.pt"),
        (b"caf\xe9\0d\0", b"/d/caf\xe9"),
        (b" \0\n\0", b"/\n/ "),
        (b"#1234\0tmp\0", b"/tmp/#1234"),
    ],
)
def test_paths_from_components(components: bytes, path: bytes) -> None:
    assert path_of(components) == path


@given(st.lists(NAMES, max_size=10))
def test_a_walk_is_undone(names: list[bytes]) -> None:
    path = b"/" + b"/".join(names)

    assert path_of(walked(path)) == path


@pytest.mark.parametrize(
    ("raw", "arguments"),
    [
        (b"", ()),
        (b"\0", (b"",)),
        (b"true\0", (b"true",)),
        (b"sh\0-c\0\0", (b"sh", b"-c", b"")),
        (b"a\0\0b\0", (b"a", b"", b"b")),
        (b"python\0cut of", (b"python", b"cut of")),
    ],
)
def test_arguments(raw: bytes, arguments: tuple[bytes, ...]) -> None:
    assert arguments_of(raw) == arguments


@pytest.mark.parametrize(
    ("base", "text", "path"),
    [
        (b"/", b"a", b"/a"),
        (b"/", b"/a", b"/a"),
        (b"/home", b"a/b", b"/home/a/b"),
        (b"/home", b"./a//b/", b"/home/a/b"),
        (b"/home/alice", b"../bob/x", b"/home/bob/x"),
        (b"/home", b"../../..", b"/"),
        (b"/home", b"", b"/home"),
        (b"/jail", b"/etc/x", b"/jail/etc/x"),
        (b"/jail", b"//etc/x", b"/jail/etc/x"),
        (b"/jail", b"/../etc/x", b"/jail/etc/x"),
        (b"/jail", b"/a/../../../etc/x", b"/jail/etc/x"),
        (b"/d\xff", b"f\xfe", b"/d\xff/f\xfe"),
    ],
)
def test_a_string_starts_at_its_base(base: bytes, text: bytes, path: bytes) -> None:
    assert joined(base, text) == path


def test_parts_of_a_record() -> None:
    store = store_of(
        {
            7: {
                Part.PATH: walked(b"/usr/bin/python3"),
                Part.CWD: walked(b"/home/alice"),
                Part.ARGS: b"python3\0train.py\0",
                Part.SCRIPT: b"./train.py\0",
            }
        }
    )

    texts = store.claim(7)

    assert (texts.path(), texts.cwd()) == (b"/usr/bin/python3", b"/home/alice")
    assert (texts.arguments(), texts.script()) == ((b"python3", b"train.py"), b"./train.py")


def test_names_need_both_the_string_and_its_directory() -> None:
    both = Texts({Part.USER_OLD: b"a\0", Part.BASE_OLD: walked(b"/home")})
    no_base = Texts({Part.USER_NEW: b"a\0"})
    no_text = Texts({Part.BASE_NEW: walked(b"/home")})

    assert both.named(Part.USER_OLD, Part.BASE_OLD) == b"/home/a"
    assert no_base.named(Part.USER_NEW, Part.BASE_NEW) is None
    assert no_text.named(Part.USER_NEW, Part.BASE_NEW) is None


def test_the_root_as_a_base_has_no_components() -> None:
    texts = Texts({Part.USER_OLD: b"a\0", Part.BASE_OLD: b""})

    assert texts.named(Part.USER_OLD, Part.BASE_OLD) == b"/a"


def test_lost_texts_are_unknown_not_empty() -> None:
    texts = TextStore().claim(7)

    assert (texts.path(), texts.cwd(), texts.script(), texts.arguments()) == (None, None, None, ())


def test_chunks_of_one_text_are_put_together() -> None:
    store = TextStore()

    count = store.add([(7, Part.ARGS, 0, 0, b"python\0tra"), (7, Part.ARGS, 0, 1, b"in.py\0")])

    assert count == 2
    assert store.claim(7).arguments() == (b"python", b"train.py")


def test_a_text_is_claimed_once() -> None:
    store = store_of({7: {Part.PATH: walked(b"/a")}})

    assert (store.claim(7).path(), store.claim(7).path()) == (b"/a", None)


def test_a_text_waits_three_drains_for_its_record() -> None:
    store = store_of({7: {Part.PATH: walked(b"/a")}})
    forgotten = []

    for _ in range(4):
        forgotten.append(store.forget_unclaimed())
        store.add([])

    assert forgotten == [0, 0, 0, 1]
    assert store.claim(7).path() is None


def test_a_text_may_come_one_drain_before_its_record() -> None:
    store = store_of({7: {Part.PATH: walked(b"/a")}})
    store.forget_unclaimed()
    store.add([])
    store.forget_unclaimed()

    assert store.claim(7).path() == b"/a"
