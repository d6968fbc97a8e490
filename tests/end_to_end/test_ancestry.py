"""Trees, test sets, repeats and reproduction of real pipelines, asked as a person would."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.asking import Said, Whence, settled
from tests.end_to_end.jobs import RAW, STAGE, write_job
from tests.scope import Scope

SHARDS = 60
MAKE_SHARDS = f"""\
import os
os.makedirs("shards")
for n in range({SHARDS}):
    with open(f"shards/{{n:04}}.bin", "wb") as shard:
        shard.write(b"%04d" % n * 500)
"""
TRAIN = """\
import hashlib, sys
first, last = int(sys.argv[1]), int(sys.argv[2])
total = hashlib.sha256()
for n in range(first, last):
    total.update(open(f"shards/{n:04}.bin", "rb").read())
open(sys.argv[3], "w").write(total.hexdigest() * 4)
"""
GIT = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]


def git(place: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(place), *GIT, *words], check=True, capture_output=True)


def asked(whence: Whence, *words: str | Path) -> Any:
    """Return the document of an answer whatever its exit status, None where there is none."""
    said = whence.run(*words, "--json")
    return json.loads(said.stdout) if said.stdout else None


def tree_edges(whence: Whence, place: Path) -> set[tuple[object, ...]]:
    where = f"path = '{place}/shards'"
    query = f"SELECT op, members_touched, members FROM run_trees WHERE {where}"  # noqa: S608 -- our own words
    return {tuple(row.values()) for row in whence.sql(query)}


def test_shards_are_one_edge_and_a_folder_answers(
    scope: Scope, whence: Whence, place: Path
) -> None:
    write_job(place, make_py=MAKE_SHARDS, train_py=TRAIN)
    expected: set[tuple[object, ...]] = {
        ("write", SHARDS, SHARDS),
        ("read", SHARDS, SHARDS),
        ("read", 20, SHARDS),
    }

    scope.run(["python3", "make.py"], place)
    settled(lambda: len(tree_edges(whence, place)), 1)
    scope.run(["python3", "train.py", "0", str(SHARDS), "all.pt"], place)
    scope.run(["python3", "train.py", "10", "30", "some.pt"], place)
    found = settled(partial(tree_edges, whence, place), expected)
    folder = asked(whence, place / "shards")
    text = whence.run(place / "all.pt").stdout

    assert found == expected
    assert (folder["found"], folder["members"]) == (True, SHARDS)
    assert f"{SHARDS} of {SHARDS} members" in text
    assert "0017.bin" not in text
    (place / "shards/0003.bin").write_bytes(b"changed")
    changed = whence.run(place / "shards")
    assert changed.code == 1
    assert f"of which {SHARDS - 1} or more are here unchanged" in changed.stdout


def verdict(whence: Whence, model: Path, by: str | Path) -> tuple[int, str]:
    said = whence.run("touched", model, "--by", by, "--json")
    document = json.loads(said.stdout) if said.stdout else {}
    return said.code, document.get("verdict", said.stderr)


def test_touched_tells_yes_no_and_unknown(scope: Scope, whence: Whence, place: Path) -> None:
    write_job(place, raw_csv=RAW, test_csv=RAW[::-1], other_csv=RAW * 2)
    scope.run(["python3", "stage.py", "leaky.txt", "raw.csv", "test.csv"], place)
    scope.run(["python3", "stage.py", "clean.txt", "raw.csv"], place)
    scope.run(["cp", "leaky.txt", "leaky.pt"], place)
    scope.run(["python3", "stage.py", "model.bin", "leaky.pt"], place)
    ask = partial(verdict, whence)

    assert settled(lambda: ask(place / "model.bin", place / "test.csv"), (0, "yes")) == (0, "yes")
    assert settled(lambda: ask(place / "clean.txt", place / "test.csv"), (1, "no")) == (1, "no")
    assert ask(place / "raw.csv", place / "test.csv") == (5, "unknown")
    assert whence.run("tag", place / "test.csv", "test-set").code == 0
    assert ask(place / "model.bin", "test-set") == (0, "yes")
    assert ask(place / "clean.txt", "test-set") == (1, "no")


def test_a_repeat_is_flagged_and_a_diff_names_the_cause(
    scope: Scope, whence: Whence, place: Path
) -> None:
    train = "import sys\ndata = open('raw.csv').read()\nopen('m.pt', 'w').write(data * 9)\n"
    write_job(place, raw_csv=RAW, train_py=train)

    def grades() -> set[tuple[object, ...]]:
        views = "duplicates d JOIN runs r USING (run_id)"
        query = f"SELECT r.argv, d.grade FROM {views} WHERE r.cwd = '{place}'"  # noqa: S608 -- our own words
        return {(row["argv"][-1], row["grade"]) for row in whence.sql(query)}

    def settled_runs() -> int:
        views = "run_recipes JOIN runs USING (run_id)"
        query = f"SELECT count(*) AS n FROM {views} WHERE cwd = '{place}'"  # noqa: S608 -- our own words
        return int(whence.sql(query)[0]["n"])

    for number, rate in enumerate(("--lr=0.1", "--lr=0.1", "--lr=0.2"), 1):
        scope.run(["python3", "train.py", rate], place)
        assert settled(settled_runs, number) == number

    assert settled(grades, {("--lr=0.1", "exact")}) == {("--lr=0.1", "exact")}
    runs = [run["run_id"] for run in whence("log")["runs"] if run["cwd"] == str(place)]
    answer = whence("diff", runs[1], runs[0])
    assert next((d["category"], d["what"], d["a"], d["b"]) for d in answer["differences"]) == (
        "arguments",
        "--lr",
        "0.1",
        "0.2",
    )
    assert "repeats an earlier run" in whence.run("log").stdout


def own(place: Path) -> bytes:
    """Return data that no other test has: equal content is a tie, also between tests."""
    return str(place).encode() + RAW


def reproduced(whence: Whence, place: Path, into: Path) -> tuple[Said, Any]:
    said = whence.run("reproduce", place / "model.bin", "--run", "--into", into, "--json")
    return said, json.loads(said.stdout) if said.stdout else {}


def test_reproduce_from_a_dirty_tree_with_deleted_inputs(
    scope: Scope, whence: Whence, place: Path, tmp_path: Path
) -> None:
    """Code at its commit with the change on it; data from a copy, for the original is gone."""
    work, data = place / "work", place / "data"
    work.mkdir()
    data.mkdir()
    write_job(work, all_sh="python3 stage.py prepared.txt ../data/raw.csv\n"
              "python3 stage.py model.bin prepared.txt\n")  # fmt: skip
    (data / "raw.csv").write_bytes(own(place))
    git(work, "init", "-q")
    git(work, "add", "-A")
    git(work, "commit", "-qm", "first")
    (work / "stage.py").write_text(STAGE.replace('b": "', 'b"! "'))

    scope.run(["sh", "all.sh"], work)
    scope.run(["cp", "../data/raw.csv", "../data/kept.csv"], work)
    digest = settled(lambda: whence.run(work / "model.bin").code, 0)
    assert digest == 0
    (data / "raw.csv").unlink()
    again = tmp_path / "again"

    def whole_recipe() -> bool:
        document = asked(whence, "recipe", work / "model.bin")
        changed = [c for step in document["steps"] for c in step["changes"]] if document else []
        seen = [item["seen_at"] for item in document["inputs"]] if document else []
        return any(c["difference"] for c in changed) and any("kept.csv" in str(s) for s in seen)

    assert settled(whole_recipe, True)
    said, document = reproduced(whence, work, again)

    assert document["missing"] == [], said.stderr
    assert [step["exit_code"] for step in document["steps"]] == [0]
    assert (said.code, document["grade"]) == (0, "R5"), document
    assert (again / f"files{work}/model.bin").read_bytes() == (work / "model.bin").read_bytes()


def test_reproduce_says_what_is_missing_and_runs_nothing(
    scope: Scope, whence: Whence, place: Path, tmp_path: Path
) -> None:
    write_job(place, raw_csv=own(place))
    scope.run(["python3", "stage.py", "model.bin", "raw.csv"], place)
    assert settled(lambda: whence.run(place / "model.bin").code, 0) == 0
    (place / "raw.csv").unlink()

    said, document = reproduced(whence, place, tmp_path / "again")

    assert (said.code, document["grade"], document["steps"]) == (1, "R0", [])
    assert "raw.csv" in document["missing"][0]


def test_reproduce_sees_a_difference(
    scope: Scope, whence: Whence, place: Path, tmp_path: Path
) -> None:
    random = "import os\ndata = open('raw.csv', 'rb').read()\n" \
        "open('model.bin', 'wb').write(data + os.urandom(64))\n"  # fmt: skip
    write_job(place, raw_csv=own(place), train_py=random)
    scope.run(["python3", "train.py"], place)
    assert settled(lambda: whence.run(place / "model.bin").code, 0) == 0

    said, document = reproduced(whence, place, tmp_path / "again")

    assert (said.code, document["grade"]) == (0, "R2"), document


NOISE = "import json, os, struct\ndata = open('raw.csv').read()\n" \
    "off = 1 + os.urandom(1)[0] * 1e-6 + 1e-9 * os.getpid()\n"  # fmt: skip
#: What a trainer leaves when it is run twice, and how close that is.
CLOSE = {
    "R1": ("model.bin", "open('model.bin', 'w').write(data)\n"
           "open(f'log-{os.getpid()}.csv', 'w').write(data * 3)\n"),
    "R2": ("model.bin", "open('model.bin', 'wb').write(data.encode() + os.urandom(64))\n"),
    "R3": ("model.json", "document = {'loss': 0.5 * off, 'steps': 7, 'data': data}\n"
           "json.dump(document, open('model.json', 'w'))\n"),
    "R4": ("model.safetensors", "values = struct.pack('<32f', *(n * off for n in range(32)))\n"
           "w = {'dtype': 'F32', 'shape': [32], 'data_offsets': [0, 128]}\n"
           "head = json.dumps({'w': w}).encode()\n"
           "open('model.safetensors', 'wb').write(struct.pack('<Q', len(head)) + head + values)\n"),
}  # fmt: skip


@pytest.mark.parametrize("grade", CLOSE)
def test_each_grade_is_told_of_a_program_that_earns_it(
    scope: Scope, whence: Whence, place: Path, tmp_path: Path, grade: str
) -> None:
    model, text = CLOSE[grade]
    write_job(place, raw_csv=own(place), train_py=NOISE + text)
    scope.run(["python3", "train.py"], place)
    assert settled(lambda: whence.run(place / model).code, 0) == 0

    into = tmp_path / "again"
    said = whence.run("reproduce", place / model, "--run", "--into", into, "--json")
    document = json.loads(said.stdout)

    assert document["grade"] == grade, document
    told = [text for text in document["remarks"] if "no seed was seen" in text]
    assert len(told) == (0 if grade == "R1" else 1)


def test_packages_are_put_back_where_their_environment_is_gone(
    scope: Scope, whence: Whence, place: Path, tmp_path: Path
) -> None:
    """From the package index, in the version that the run had loaded."""
    environment = place / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [str(environment / "bin/python"), "-m", "pip", "install", "-q", "--no-deps"]
    subprocess.run([*pip, "iniconfig==2.0.0", "tabulate==0.9.0"], check=True)
    train = (
        "import iniconfig\nfrom importlib.metadata import entry_points\n"
        "assert entry_points() is not None\n"
        "data = iniconfig.__name__ + open('raw.csv').read()\n"
        "open('model.bin', 'w').write(data)\n"
    )
    work = place / "work"
    work.mkdir()
    write_job(work, raw_csv=own(place), train_py=train)
    scope.run([str(environment / "bin/python"), "train.py"], work)

    def recorded() -> list[str]:
        document = asked(whence, "recipe", work / "model.bin")
        steps = document.get("steps", ()) if document else ()  # an error at first
        return [each for step in steps for each in step["packages"] if each.startswith("pypi ")]

    assert settled(lambda: "pypi iniconfig 2.0.0" in recorded(), True)
    assert not [each for each in recorded() if "tabulate" in each]  # listed, not loaded
    shutil.rmtree(environment)
    said, document = reproduced(whence, work, tmp_path / "again")
    (installed,) = (tmp_path / "again/environment/lib").glob("python3*/site-packages/iniconfig-*")

    assert (said.code, document["grade"]) == (0, "R5"), (document, said.stderr)
    assert installed.name == "iniconfig-2.0.0.dist-info"
    assert any("another was set up" in text for text in document["remarks"])


def test_a_program_that_names_its_folder_is_not_run(
    scope: Scope, whence: Whence, place: Path, tmp_path: Path
) -> None:
    absolute = f"data = open('{place}/raw.csv', 'rb').read()\n" \
        f"open('{place}/model.bin', 'wb').write(data * 2)\n"  # fmt: skip
    write_job(place, raw_csv=own(place), train_py=absolute)
    scope.run(["python3", "train.py"], place)
    assert settled(lambda: whence.run(place / "model.bin").code, 0) == 0

    said, document = reproduced(whence, place, tmp_path / "again")

    assert (said.code, document["grade"]) == (1, "R0")
    assert "names" in document["missing"][0]


def test_the_recipe_runs_as_it_stands(
    scope: Scope, whence: Whence, place: Path, tmp_path: Path
) -> None:
    write_job(place, raw_csv=own(place))
    scope.run(["python3", "stage.py", "model.bin", "raw.csv"], place)
    assert settled(lambda: whence.run(place / "model.bin").code, 0) == 0
    document = whence.run("recipe", place / "model.bin").stdout
    (tmp_path / "recipe.md").write_text(document)
    stand_in = tmp_path / "b3sum"
    stand_in.write_text(
        "#!/bin/sh\nexec " + str(Path(whence.instance.python)) + " -c '"
        'import sys, blake3; print(blake3.blake3(open(sys.argv[2], "rb").read()).hexdigest())\''
        ' "$@"\n'
    )
    stand_in.chmod(0o755)

    ended = subprocess.run(
        ["sh", "-c", "sed -n '/^```sh$/,/^```$/{//!p}' recipe.md | INTO=$PWD/again sh"],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr + document
    assert f"same: {place}/model.bin" in ended.stdout, document
