"""Random acts of random principals on requests: the promises hold whatever the order."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.unit.request_model import BUDGETS, NAMES, PEOPLE, VERDICTS, Twin, caller_of, step

CALLERS = st.builds(caller_of, st.integers(0, len(PEOPLE) - 1), st.booleans())


class RequestMachine(RuleBasedStateMachine):
    """Shrinks a broken promise to the fewest acts that break it."""

    def __init__(self) -> None:
        super().__init__()
        self.twin = Twin()

    @rule(
        caller=CALLERS,
        budget=st.sampled_from(BUDGETS),
        reviewers=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True),
        draft=st.booleans(),
    )
    def file(self, caller, budget, reviewers, draft) -> None:  # type: ignore[no-untyped-def]  # by hypothesis
        """File."""
        self.twin.file(caller, budget, tuple(reviewers), draft)

    @precondition(lambda self: self.twin.told)
    @rule(
        caller=CALLERS,
        pick=st.integers(0),
        budget=st.sampled_from(BUDGETS),
        title=st.text(max_size=2),
    )
    def edit(self, caller, pick, budget, title) -> None:  # type: ignore[no-untyped-def]  # by hypothesis
        """Edit."""
        self.twin.edit(caller, self._name(pick), budget, title)

    @precondition(lambda self: self.twin.told)
    @rule(
        caller=CALLERS, pick=st.integers(0), verdict=st.sampled_from(VERDICTS), old=st.integers(0)
    )
    def review(self, caller, pick, verdict, old) -> None:  # type: ignore[no-untyped-def]  # by hypothesis
        """Decide."""
        name = self._name(pick)
        revisions = self.twin.book.requests[name].revisions
        self.twin.review(caller, name, verdict, revisions[-1 - old % len(revisions)].digest)

    @precondition(lambda self: self.twin.told)
    @rule(caller=CALLERS, pick=st.integers(0), text=st.text(max_size=3))
    def comment(self, caller, pick, text) -> None:  # type: ignore[no-untyped-def]  # by hypothesis
        """Comment."""
        self.twin.comment(caller, self._name(pick), text)

    @precondition(lambda self: self.twin.told)
    @rule(caller=CALLERS, pick=st.integers(0))
    def claim(self, caller, pick) -> None:  # type: ignore[no-untyped-def]  # by hypothesis
        """Claim."""
        self.twin.claim(caller, self._name(pick))

    @precondition(lambda self: self.twin.told)
    @rule(caller=CALLERS, pick=st.integers(0))
    def cancel(self, caller, pick) -> None:  # type: ignore[no-untyped-def]  # by hypothesis
        """Cancel."""
        self.twin.cancel(caller, self._name(pick))

    @rule(seconds=st.sampled_from((1, 61, 700)))
    def pass_time(self, seconds) -> None:  # type: ignore[no-untyped-def]  # by hypothesis
        """Let time pass."""
        self.twin.pass_time(seconds)

    @invariant()
    def holds(self) -> None:
        """Everything that must hold."""
        self.twin.check()

    def teardown(self) -> None:
        """The chain alone tells the same."""
        self.twin.check_chain()

    def _name(self, pick: int) -> str:
        names = list(self.twin.told)
        return names[pick % len(names)]


TestRequestMachine = RequestMachine.TestCase
TestRequestMachine.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_a_long_walk_does_everything_and_breaks_nothing() -> None:
    """Every kind of act succeeds somewhere: a rule that refuses all would pass otherwise."""
    twin, chance = Twin(), random.Random(6)  # noqa: S311 -- a walk that can be walked again

    for number in range(6_000):
        step(twin, chance)
        if number % 500 == 0:
            twin.check()
    twin.check()
    twin.check_chain()

    assert {name: count > 20 for name, count in twin.accepted.items()} == dict.fromkeys(
        twin.accepted, True
    )
