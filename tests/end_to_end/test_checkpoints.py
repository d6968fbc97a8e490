"""A checkpoint has read the shards that were read by then, and not those that came later."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.asking import Whence, settled
from tests.scope import Scope

pytestmark = pytest.mark.kernel

# Knows nothing of whence: reads a shard for each step, writes a checkpoint every second step.
TRAINER = """\
import json, os, sys

weights = 0
for step in range(6):
    with open(f"shards/{step:02}.bin", "rb") as shard:
        weights += sum(shard.read())
    if step % 2:
        folder = f"ckpt-{step + 1}"
        os.makedirs(folder + ".tmp", exist_ok=True)
        with open(folder + ".tmp/model.safetensors", "wb") as model:
            model.write(b"w" * 100 + str(weights).encode())
        with open(folder + ".tmp/trainer_state.json", "w") as state:
            json.dump({"step": step}, state)
        os.rename(folder + ".tmp", folder)
"""


@pytest.fixture
def trained(scope: Scope, place: Path) -> Path:
    (place / "shards").mkdir()
    for number in range(6):
        (place / "shards" / f"{number:02}.bin").write_bytes(bytes([number]) * 500)
    (place / "train.py").write_text(TRAINER)
    scope.run(["python3", "train.py"], place)
    return place


def shards(whence: Whence, path: Path) -> set[str]:
    """Return the shards that an answer names as inputs."""
    said = whence.run(path, "--json")
    if said.code:
        return set()
    import json

    document: dict[str, Any] = json.loads(said.stdout)
    inputs = document["productions"][0]["inputs"]
    return {Path(each["path"]).name for each in inputs if "shards" in each["path"]}


@pytest.mark.parametrize(("checkpoint", "count"), [("ckpt-2", 2), ("ckpt-4", 4), ("ckpt-6", 6)])
def test_a_checkpoint_lists_exactly_the_shards_read_by_then(
    whence: Whence, trained: Path, checkpoint: str, count: int
) -> None:
    expected = {f"{number:02}.bin" for number in range(count)}

    ask = partial(shards, whence, trained / checkpoint / "model.safetensors")
    assert settled(ask, expected) == expected
