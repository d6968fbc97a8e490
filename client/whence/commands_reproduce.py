"""`whence recipe` and `whence reproduce`: how to make something again, and doing it."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from whence import ask_ancestry
from whence.client import Client
from whence.commands_tags import subject_of
from whence.desk import FOUND, NOT_FOUND, Desk, Run
from whence.errors import NotFoundError
from whence.grades import StepGrade, overall
from whence.model_ancestry import Recipe
from whence.page import Page
from whence.recipe_text import document
from whence.render_ancestry import gaps_lines
from whence.reproduce import Done, prepare_folder, reproduce
from whence.reproduce_plan import plan_of
from whence.text import count_text, safe, short_digest

_MEANINGS = (
    "not all of it ran",
    "it ran, but outputs are missing",
    "the same outputs are there, with other bytes",
    "numbers are within 1 %",
    "tensors are within 1 %",
    "every byte of every output is the same",
)


def run_recipe(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Write down how to make it again."""
    answer = _recipe(options.what, desk, client)
    if options.json:
        desk.hand_over(answer)
    else:
        desk.out.write(document(answer, Path(options.what).name) + "\n")
    return FOUND


def _recipe(what: str, desk: Desk, client: Client) -> Recipe:
    answer = ask_ancestry.recipe(client, subject_of(what, desk))
    if not answer.steps:
        raise NotFoundError(f"no observed run made {what}: there is nothing to do again")
    return answer


def run_reproduce(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Do it again, or show what would be done."""
    answer = _recipe(options.what, desk, client)
    if not options.run:
        return _plan(options, desk, answer)
    into = options.into or Path(tempfile.mkdtemp(prefix="whence-again-"))
    folder = prepare_folder(into)
    done = reproduce(
        answer, folder, desk.host, lambda text: desk.remark(safe(text)), options.step_timeout
    )
    grade = overall(done.steps, len(answer.steps))
    if options.json:
        desk.hand_over(
            {
                "subject": answer.subject,
                "folder": done.folder,
                "grade": f"R{grade}",
                "missing": done.missing,
                "remarks": done.remarks,
                "gaps": answer.gaps,
                "steps": [asdict(step) for step in done.steps],
            }
        )
    else:
        desk.tell(done_lines(desk.page, done, grade))
    return FOUND if grade >= 2 else NOT_FOUND


def _plan(options: argparse.Namespace, desk: Desk, answer: Recipe) -> int:
    plan = plan_of(answer, str(options.into or "DIR"))
    if options.json:
        commands = [{"argv": each.argv, "cwd": each.cwd} for each in plan.commands]
        desk.hand_over(
            {
                "subject": answer.subject,
                "commands": commands,
                "inputs": answer.inputs,
                "gaps": answer.gaps,
            }
        )
        return FOUND
    page = desk.page
    lines = [page.clip(f"code    {c.repository} at {c.commit[:12]}") for c in plan.checkouts]
    lines.append(f"inputs  {count_text(len(plan.inputs), 'file')} by digest")
    lines += [page.clip(f"run     {each.step.run.command}") for each in plan.commands]
    lines += gaps_lines(page, answer.gaps)
    lines.append(page.paint("add --run to do it", "faint"))
    desk.tell([safe(line) for line in lines])
    return FOUND


def done_lines(page: Page, done: Done, grade: int) -> list[str]:
    """Return what came of it."""
    lines = []
    for step in done.steps:
        lines.append(page.clip(safe(f"R{step.grade}  {step.command}  {step.took_s:.1f} s")))
        lines += _outputs(page, step)
    lines += [page.paint(page.clip(safe(f"! {text}")), "odd") for text in done.remarks]
    lines += [page.paint(page.clip(safe(f"✗ {text}")), "bad") for text in done.missing]
    head = f"R{grade}: {_MEANINGS[grade]}" if done.steps else "R0: not run, for what is missing"
    look = "good" if grade == 5 else "odd" if grade >= 2 else "bad"
    return [*lines, page.paint(head, look), page.clip(safe(f"in {done.folder}"))]  # type: ignore[arg-type]


def _outputs(page: Page, step: StepGrade) -> list[str]:
    lines = []
    for each in step.outputs:
        found = "missing" if each.found is None else short_digest(each.found, 8)
        same = "same" if each.grade == 5 else f"was {short_digest(each.recorded, 8)}"
        lines.append(page.clip(safe(f"    R{each.grade}  {Path(each.path).name}  {found}  {same}")))
    return lines


RUNS: Mapping[str, Run] = {"recipe": run_recipe, "reproduce": run_reproduce}
