"""What users read: every command has help with an example, and docs/commands.md tells of it."""

from __future__ import annotations

import argparse
import re
from dataclasses import fields
from pathlib import Path

import pytest

from whence.commands_ancestry import UNKNOWN
from whence.doctor import Check
from whence.errors import WhenceError
from whence.model_ancestry import KINDS
from whence.options import COMMANDS, overview, parser_for

DOCS = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
SHAPES = {kind.__name__: kind for kind in (*KINDS.values(), Check)}


def section(title: str) -> str:
    """Return the text under a heading, up to the next one of any level."""
    found = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", DOCS, re.MULTILINE | re.DOTALL)

    assert found is not None, f"docs/commands.md has no heading {title!r}"
    return found[1]


def test_the_overview_lists_every_command() -> None:
    listed = re.findall(r"^  (\w+) +\w", overview(), re.MULTILINE)

    assert [name for name in listed if name in COMMANDS] == list(COMMANDS)


def test_the_docs_list_every_command_in_the_same_order() -> None:
    assert re.findall(r"^## `whence (\w+)`$", DOCS, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("name", ["find", *COMMANDS])
def test_help_tells_what_it_does_with_an_example(name: str) -> None:
    text = parser_for(name).format_help()

    start = "whence" if name == "find" else f"whence {name}"
    assert re.search(rf"example:\n  {start} ?", text)
    assert len(parser_for(name).description or "") > 10


@pytest.mark.parametrize("name", COMMANDS)
def test_the_docs_show_an_example_and_what_json_prints(name: str) -> None:
    text = section(f"`whence {name}`")

    assert re.search(rf"^\$ (sudo )?whence {name}\b", text, re.MULTILINE)
    assert "`--json` prints" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_the_docs_name_every_option(name: str) -> None:
    text = section(f"`whence {name}`")

    assert [option for option in options_of(name) if f"`{option}" not in text] == []


def options_of(name: str) -> list[str]:
    """Return the options of a command that not every command has."""
    every = {"--help", "--json", "--address"}
    actions: list[argparse.Action] = parser_for(name)._actions
    return [
        word
        for action in actions
        for word in action.option_strings
        if word.startswith("--") and word not in every
    ]


def test_options_of_every_command_are_told_once() -> None:
    text = section("For every command")

    assert [
        word for word in ("`--json`", "`--address", "`WHENCE_ADDRESS`") if word not in text
    ] == []


@pytest.mark.parametrize("example", [line for c in COMMANDS.values() for line in c.examples])
def test_examples_of_help_are_commands_that_parse(example: str) -> None:
    import shlex

    words = shlex.split(example)

    assert words[0] == "whence"
    assert parser_for(words[1]).parse_args(words[2:]).json in (True, False)


@pytest.mark.parametrize("name", SHAPES)
def test_the_docs_tell_every_key_of_a_document(name: str) -> None:
    told = re.findall(r"^\| `(\w+)` \|", section(name), re.MULTILINE)

    assert told == [field.name.rstrip("_") for field in fields(SHAPES[name])]


def test_the_docs_tell_every_exit_status() -> None:
    table = section("For every command").partition("| exit status |")[2]
    told = {
        int(number)
        for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE)
        for number in row.split(",")
    }

    used = {kind.exit_code for kind in WhenceError.__subclasses__()}
    assert told == used | {0, 1, 2, UNKNOWN, 70, 130, 141}
