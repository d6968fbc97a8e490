"""The short form: kept inputs and some mutants for each reader; some calls of each method."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests.addresses import free_address
from tests.fuzz.calls import FAULTS, Method, call, methods, requests_for
from tests.fuzz.mutate import inputs
from tests.fuzz.targets import TARGETS
from tools.instance import COLLECTOR, Instance, running, start, stop

MUTANTS = 400
CALLS = 15
SEED = 20261124


@pytest.mark.parametrize("name", TARGETS)
def test_a_reader_answers_or_refuses(name: str) -> None:
    target = TARGETS[name]
    for data in inputs(target.corpus(), MUTANTS, SEED):
        target.try_one(data)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Start a collector alone, as `make up` does."""
    place = Instance(tmp_path_factory.mktemp("fuzzed"), free_address())
    Path(place.data_dir, "run").mkdir()
    start(place, COLLECTOR)
    yield place
    stop(place, COLLECTOR)


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.path)
def test_a_method_answers_or_refuses(instance: Instance, method: Method) -> None:
    dice = random.Random(SEED)  # noqa: S311 -- repeatable
    statuses = set()
    with grpc.insecure_channel(instance.address) as channel:
        for _ in range(CALLS):
            statuses.add(call(channel, method, list(requests_for(method, dice))))

    assert statuses.isdisjoint(FAULTS)
    assert running(instance, COLLECTOR) is not None
