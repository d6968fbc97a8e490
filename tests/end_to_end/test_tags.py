"""Programs, shells and people that say something about runs, through daemon and collector."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from tests.asking import Whence, settled
from tests.conformance.repository import ROOT
from tests.end_to_end.jobs import RAW, rows, write_job
from tests.scope import Scope

# The client alone, for the distribution's Python: no gRPC is installed there.
LIGHT = {"PYTHONPATH": str(ROOT / "client")}
JOB = """\
import whence
content = open("raw.csv").read()
open("model.bin", "w").write(content * 2)
taken = [whence.tag(project="tickets", note="second try", pii=True)]
taken += [whence.metric("acc", 0.5, step=1), whence.metric("acc", 0.93, step=2)]
print(taken)
"""


def tags_of(whence: Whence, place: Path) -> set[tuple[object, ...]]:
    views = f"tags JOIN runs USING (run_id) WHERE stands AND cwd = '{place}'"
    query = f"SELECT command, key, value, who, proven FROM {views}"  # noqa: S608 -- our own words
    return {tuple(row.values()) for row in whence.sql(query)}


def test_a_job_speaks_of_itself(scope: Scope, whence: Whence, place: Path) -> None:
    write_job(place, raw_csv=RAW, train_py=JOB)
    said = {("project", "tickets"), ("note", "second try"), ("pii", None)}
    expected = {("python3 train.py", key, value, "root", True) for key, value in said}

    printed = scope.run(["python3", "train.py"], place, environment=LIGHT)
    found = settled(partial(tags_of, whence, place), expected)
    (run,) = whence.sql(f"SELECT run_id, project FROM runs WHERE cwd = '{place}'")  # noqa: S608 -- our own words

    assert printed == "[True, True, True]\n"
    assert found == expected
    assert run["project"] == "tickets"
    (metric,) = whence("show", run["run_id"])["metrics"]
    assert (metric["name"], metric["value"], metric["step"], metric["count"]) == ("acc", 0.93, 2, 2)
    assert [r["run_id"] for r in whence("log", "--project", "tickets")["runs"]] == [run["run_id"]]


def test_a_script_tags_its_own_run(
    scope: Scope, whence: Whence, place: Path, tmp_path: Path
) -> None:
    command = Path(sys.executable).parent / "whence"
    script = f"{command} tag project=shell note=here\npython3 stage.py out.txt raw.csv\n"
    write_job(place, raw_csv=RAW, all_sh=script)
    expected = {
        ("sh all.sh", "project", "shell", "root", True),
        ("sh all.sh", "note", "here", "root", True),
    }

    scope.run(["sh", "all.sh"], place, environment={"WHENCE_ADDRESS": "127.0.0.1:9"})

    assert settled(partial(tags_of, whence, place), expected) == expected


def test_another_user_may_not_tag_a_process(scope: Scope, whence: Whence, place: Path) -> None:
    sleeper = "import time\nprint('up', flush=True)\ntime.sleep(60)\n"
    tagger = (
        "import sys\nfrom whence.local_tags import tag_process\n"
        "print(tag_process([('project', sys.argv[2])], sys.argv[1]))\n"
    )
    write_job(place, sleep_py=sleeper, tag_py=tagger)
    with scope.start(["python3", "sleep.py"], place) as job:
        assert job.stdout is not None
        job.stdout.readline()
        words = ["python3", "tag.py", str(job.pid)]
        with scope.start([*words, "stolen"], place, user=65534, environment=LIGHT) as thief:
            _, complaint = thief.communicate(timeout=30)
        with scope.start([*words, "mine"], place, environment=LIGHT) as owner:
            owner.communicate(timeout=30)
        job.kill()
    expected = {("python3 sleep.py", "project", "mine", "root", True)}

    assert thief.returncode == 1
    assert "belongs to another user" in complaint
    assert owner.returncode == 0
    assert settled(partial(tags_of, whence, place), expected) == expected


def test_labels_go_with_what_is_made(scope: Scope, whence: Whence, place: Path) -> None:
    write_job(place, raw_csv=RAW + f"{place}\n".encode())  # a content that no other test has
    scope.run(["python3", "stage.py", "model.bin", "raw.csv"], place)
    expected = [("pii", f"{place}/raw.csv")]

    assert whence.run("tag", place / "raw.csv", "pii").code == 0

    def inherited() -> list[tuple[str, str]]:
        said = whence.run("tag", place / "model.bin", "--json")
        if said.code:
            return []
        import json

        return [(tag["key"], tag["inherited_from"]) for tag in json.loads(said.stdout)["tags"]]

    assert settled(inherited, expected) == expected
    said = rows(whence, "key", "tags", "subject_kind = 'artifact' AND who LIKE '%@%'")
    assert ("pii",) in said
