"""A recipe as a document: Markdown that people read, with shell blocks that run. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from whence.model_ancestry import Recipe, RecipeInput
from whence.reproduce_plan import CODE, Checkout, Command, plan_of
from whence.text import date_text, short_digest, size_text

FOLDER = "$INTO"
_HEREDOC = "WHENCE_DIFFERENCE"


def document(recipe: Recipe, name: str) -> str:
    """Return the document; name is what was asked for."""
    plan = plan_of(recipe, FOLDER)
    parts = [
        f"# How to make {name} again\n",
        f"{short_digest(recipe.subject)}, made by {len(plan.commands)} command"
        f"{'s' if len(plan.commands) != 1 else ''}. Run all of it with\n\n"
        "    sed -n '/^```sh$/,/^```$/{//!p}' recipe.md | INTO=/tmp/again sh\n\n"
        f"or let `whence reproduce {shlex.quote(name)} --run` do it and grade the result.\n",
        _gaps(plan.gaps),
        _surroundings(plan.packages, recipe),
        '## Begin\n\n```sh\nset -eu\n: "${INTO:?an empty folder}"\nmkdir -p "$INTO"\n'
        'is() { [ -f "$1" ] && [ "$(b3sum --no-names "$1")" = "$2" ]; }\n'
        "# fetch DIGEST TARGET PLACE...: copy the first place that holds the content\n"
        'fetch() {\n  digest=$1; target=$2; shift 2\n  if is "$target" "$digest"; then return; fi\n'
        '  for place in "$@"; do\n    if is "$place" "$digest"; then\n'
        '      mkdir -p "$(dirname "$target")"; cp "$place" "$target"; return\n    fi\n'
        '  done\n  echo "missing: $target ($digest)" >&2; exit 1\n}\n```\n',
        *[_checkout(each) for each in plan.checkouts],
        _inputs(plan.inputs),
        *[_command(number, each) for number, each in enumerate(plan.commands, 1)],
        _check(plan.commands),
    ]
    return "\n".join(part for part in parts if part)


def _gaps(gaps: Sequence[str]) -> str:
    if not gaps:
        return ""
    return "## What is missing\n\n" + "".join(f"- {gap}\n" for gap in gaps)


def _surroundings(packages: Sequence[str], recipe: Recipe) -> str:
    lines = []
    for title, words in (
        ("interpreters", sorted({each for step in recipe.steps for each in step.interpreters})),
        ("images", sorted({step.image for step in recipe.steps if step.image})),
        ("seeds", sorted({each for step in recipe.steps for each in step.seeds})),
        ("packages", packages),
    ):
        if words:
            lines.append(f"- {title}: {', '.join(words)}\n")
    return "## Surroundings\n\n" + "".join(lines) if lines else ""


def _place(path: str) -> str:
    return f'"$INTO"{shlex.quote("/files" + path)}'


def _quoted(word: str) -> str:
    """Quote a word of a command, our own folder left to the shell."""
    head, ours, rest = word.partition(FOLDER)
    return (
        f'{shlex.quote(head) if head else ""}"$INTO"{shlex.quote(rest)}'
        if ours
        else (shlex.quote(word))
    )


def _checkout(each: Checkout) -> str:
    place = _place(each.repository)
    lines = [f"## Code: {each.repository} at {each.commit[:12]}\n", "```sh"]
    sources = [each.repository, *([each.remote] if each.remote else [])]
    clone = " || ".join(f"git clone -q {shlex.quote(source)} {place}" for source in sources)
    lines += [clone, f"git -C {place} checkout -q {each.commit}"]
    for change in each.changes:
        if change.difference and not change.redacted:
            lines += [
                f"git -C {place} apply --whitespace=nowarn <<'{_HEREDOC}'",
                change.difference.rstrip("\n"),
                _HEREDOC,
            ]
    return "\n".join([*lines, "```\n"])


def _inputs(inputs: Sequence[RecipeInput]) -> str:
    if not inputs:
        return ""
    lines = ["## Inputs, by content\n", "| class | file | content | size |", "|---|---|---|---|"]
    for item in inputs:
        size = "" if item.file.size_bytes is None else size_text(item.file.size_bytes)
        digest = short_digest(item.file.digest) if item.file.digest else "not known"
        lines.append(f"| {item.file.class_} | {item.file.path} | {digest} | {size} |")
    lines += ["", "```sh"]
    for item in inputs:
        if item.file.digest:
            places = [place.partition(":")[2] for place in item.seen_at]
            once = list(dict.fromkeys([item.file.path, *places]))
            words = " ".join(shlex.quote(place) for place in once)
            digest = item.file.digest.removeprefix("blake3:")
            optional = " || true" if item.file.class_ in CODE else ""
            call = f"fetch {digest} {_place(item.file.path)} {words}"
            lines.append(f"( {call} ){optional}" if optional else call)
    return "\n".join([*lines, "```\n"])


def _command(number: int, each: Command) -> str:
    run = each.step.run
    variables = " ".join(
        f"{name}={_quoted(value)}" for name, value in each.environment.items() if name != "PATH"
    )
    words = " ".join(_quoted(word) for word in each.argv)
    return "\n".join(
        [
            f"## {number}. `{run.command}`\n",
            f"Run {run.run_id}, {run.user} on {run.host}, {date_text(run.started_unix_ns)}, "
            f"{run.status}.\n",
            "```sh",
            f"mkdir -p {_place(run.cwd or '/')}",
            f"( cd {_place(run.cwd or '/')} && {variables + ' ' if variables else ''}{words} )",
            "```\n",
        ]
    )


def _check(commands: Sequence[Command]) -> str:
    outputs = [edge for each in commands for edge in each.outputs]
    if not outputs:
        return ""
    lines = ["## Is it the same?\n", "```sh"]
    for edge in outputs:
        digest = (edge.digest or "").removeprefix("blake3:")
        place = _place(edge.path)
        name = shlex.quote(edge.path)
        lines.append(f"is {place} {digest} && echo same: {name} || echo differs: {name}")
    return "\n".join([*lines, "```\n"])
