"""`make demo` on the tests' instance: the right answer about an unchanged pipeline's model."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from tests.asking import Whence, settled
from tests.conformance.repository import ROOT
from tests.end_to_end.jobs import Rows, digest_of_file, rows
from tests.scope import Scope

pytestmark = pytest.mark.kernel


@pytest.fixture
def demo(scope: Scope, whence: Whence, place: Path) -> str:
    """Run the demo in the captured group and return what it printed."""
    settings = {"WHENCE_ADDRESS": whence.instance.address, "DEMO_DIR": str(place)}
    return scope.run([str(ROOT / "demo" / "run.sh")], place, environment=settings)


def makers(whence: Whence, path: Path) -> list[tuple[str, str]]:
    """Return (command, path) of each production of the file's content."""
    return [(made["run"]["command"], made["path"]) for made in whence(path)["productions"]]


def test_demo_finds_the_raw_data_behind_the_model(demo: str, whence: Whence, place: Path) -> None:
    model = place / "model.joblib"
    expected = [("python train.py", str(model))]

    assert "$ whence model.joblib\n" in demo
    assert settled(partial(makers, whence, model), expected) == expected
    answer = whence(model)
    (production,) = answer["productions"]
    assert answer["artifact"]["digest"] == digest_of_file(model)
    assert "python prepare.py" in [run["command"] for run in production["ancestry"]]
    roots = {Path(edge["path"]).name for edge in production["root_inputs"]}
    assert "digits.csv.gz" in roots


def test_demo_gives_three_steps(demo: str, whence: Whence, place: Path) -> None:
    expected: Rows = {
        ("python prepare.py", "prepared.npz"),
        ("python train.py", "model.joblib"),
        ("python evaluate.py", "metrics.json"),
    }
    products = ", ".join(f"'{place / str(name)}'" for _, name in expected)
    views = "runs JOIN run_outputs USING (run_id)"
    conditions = ("kind = 'step'", "command LIKE 'python %'", f"path IN ({products})")
    made = partial(rows, whence, "command, path", views, *conditions)

    assert "accuracy on unseen digits" in demo
    assert settled(made, expected) == expected
