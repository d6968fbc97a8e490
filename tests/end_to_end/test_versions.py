"""Content over time: a path is a name, and what it held when it was read is what counts."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest
from tests.asking import Whence, settled
from tests.end_to_end.jobs import (
    RAW,
    Rows,
    below,
    dependencies,
    digest_of,
    digest_of_file,
    inputs_named,
    made_from,
    outputs_named,
    rows,
    write_job,
)
from tests.scope import Scope

pytestmark = pytest.mark.kernel

TRAINER = """\
import os, pathlib

data = pathlib.Path("raw.csv").read_bytes()
pathlib.Path("model.pt.tmp").write_bytes(b"weights of " + data)
os.replace("model.pt.tmp", "model.pt")
"""


def makers(whence: Whence, path: Path) -> list[tuple[str, str]]:
    """Return (command, path) of each production that `whence PATH` names."""
    said = whence.run(path, "--json")
    if said.code != 0:
        return []
    found = whence(path)
    return [(made["run"]["command"], made["path"]) for made in found["productions"]]


def test_trainer_that_renames_made_the_final_name(
    scope: Scope, whence: Whence, place: Path
) -> None:
    write_job(place, raw_csv=RAW, train_py=TRAINER)
    expected = [("python3 train.py", str(place / "model.pt"))]

    scope.run(["python3", "train.py"], place)

    assert settled(partial(makers, whence, place / "model.pt"), expected) == expected
    assert makers(whence, place / "model.pt") == expected
    verified = {(digest_of(b"weights of " + RAW), "verified")}
    assert outputs_named(whence, place / "model.pt") == verified


@pytest.mark.parametrize("how", ["copied", "moved", "renamed with its folder"])
def test_model_is_found_by_its_content(scope: Scope, whence: Whence, place: Path, how: str) -> None:
    """The change of name happens out of sight: outside of what is captured."""
    folder = place / "run1"
    folder.mkdir()
    write_job(folder, raw_csv=RAW + how.encode(), train_py=TRAINER)
    scope.run(["python3", "train.py"], folder)
    made = {(digest_of_file(folder / "model.pt"), "verified")}
    assert settled(partial(outputs_named, whence, folder / "model.pt"), made) == made
    target = place / "elsewhere" / "kept.pt"
    if how == "renamed with its folder":
        target = folder.rename(place / "run2") / "model.pt"
    else:
        target.parent.mkdir()
        move = shutil.copyfile if how == "copied" else shutil.move
        move(folder / "model.pt", target)
    expected = ["python3 train.py"]

    def commands() -> list[str]:
        return [command for command, _ in makers(whence, target)]

    assert settled(commands, expected) == expected


def test_folder_renamed_by_the_job_moves_its_outputs(
    scope: Scope, whence: Whence, place: Path
) -> None:
    write_job(place, raw_csv=RAW)
    job = (
        "mkdir out.tmp\npython3 stage.py out.tmp/model.bin raw.csv\n"
        "sleep 0.1\nmv out.tmp final\ncat final/model.bin > seen.txt\n"
    )
    write_job(place, job_sh=job)
    expected = {("seen.txt", "model.bin")}

    scope.run(["sh", "job.sh"], place)

    assert settled(partial(dependencies, whence, place), expected) == expected


def test_input_overwritten_later_is_what_it_was_when_read(
    scope: Scope, whence: Whence, place: Path
) -> None:
    job = "python3 stage.py model.bin raw.csv\nsleep 1\necho other > raw.csv\n"
    write_job(place, raw_csv=RAW, job_sh=job)
    expected = {(digest_of(RAW), "verified")}

    scope.run(["sh", "job.sh"], place)

    assert settled(partial(inputs_named, whence, place / "raw.csv"), expected) == expected


def test_input_overwritten_at_once_never_gets_the_wrong_digest(
    scope: Scope, whence: Whence, place: Path
) -> None:
    """Too quick to be hashed is said as such; the later content was never an input."""
    job = "import pathlib\n" + "".join(
        f"p = pathlib.Path('raw{number}.csv'); p.read_bytes(); p.write_bytes(b'later{number}')\n"
        for number in range(20)
    )
    write_job(place, job_py=job + "pathlib.Path('end.txt').write_bytes(b'end')\n")
    for number in range(20):
        (place / f"raw{number}.csv").write_bytes(RAW + b"%d" % number)
    every_input = {(f"raw{number}.csv",) for number in range(20)}

    scope.run(["python3", "job.py"], place)

    known = "artifact_state IS NOT NULL"
    decided = partial(rows, whence, "path", "run_inputs", known, f"path LIKE '{place}/%.csv'")
    assert settled(decided, every_input) == every_input
    claimed = rows(whence, "path, artifact", "run_inputs", "artifact IS NOT NULL", below(place))
    right = {(f"raw{number}.csv", digest_of(RAW + b"%d" % number)) for number in range(20)} | {
        ("job.py", digest_of_file(place / "job.py"))
    }
    assert claimed - right == set()


def test_deleted_input_is_still_an_input(scope: Scope, whence: Whence, place: Path) -> None:
    job = "python3 stage.py model.bin raw.csv\nsleep 1\nrm raw.csv\n"
    write_job(place, raw_csv=RAW, job_sh=job)
    expected = {(digest_of(RAW), "verified")}

    scope.run(["sh", "job.sh"], place)

    assert settled(partial(inputs_named, whence, place / "raw.csv"), expected) == expected
    assert ("model.bin", "raw.csv") in made_from(whence, place)


def test_three_epochs_to_one_path_are_three_artifacts(
    scope: Scope, whence: Whence, place: Path
) -> None:
    trainer = (
        "import time\n"
        "for epoch in range(3):\n"
        "    with open('checkpoint.pt', 'wb') as out:\n"
        "        out.write(b'epoch %d ' % epoch * 100)\n"
        "    time.sleep(1)\n"
    )
    write_job(place, train_py=trainer)
    expected = {(digest_of(b"epoch %d " % epoch * 100), "verified") for epoch in range(3)}

    scope.run(["python3", "train.py"], place)

    this_path = f"path = '{place}/checkpoint.pt'"
    columns = "artifact, artifact_state"
    epochs = partial(rows, whence, columns, "file_accesses", "op = 'write'", this_path)
    assert settled(epochs, expected) == expected


def test_run_that_rewrites_its_input_depends_on_the_older_content(
    scope: Scope, whence: Whence, place: Path
) -> None:
    """In-place normalisation: version one in, version two out."""
    job = (
        "data = open('raw.csv', 'rb').read()\nimport time; time.sleep(1)\n"
        "open('raw.csv', 'wb').write(data[::-1])\n"
    )
    write_job(place, raw_csv=RAW, job_py=job)
    before, after = digest_of(RAW), digest_of(RAW[::-1])

    scope.run(["python3", "job.py"], place)

    def both() -> tuple[Rows, Rows]:
        path = place / "raw.csv"
        return inputs_named(whence, path), outputs_named(whence, path)

    expected = ({(before, "verified")}, {(after, "verified")})
    assert settled(both, expected) == expected
