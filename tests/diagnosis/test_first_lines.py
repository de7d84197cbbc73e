"""The first line of an error names the true cause: every fault that is planted is told by it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import containers
import pytest
from faults import COMPOSE, FAULTS
from trying import Case, Trials, items_of

from harness.errors import FIRST_LINE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fresh import Starter

    from harness.docker_sdk import APIClient

CASES = [Case(fault, engine) for fault in FAULTS for engine in fault.engines]
MOST = 110 / 119
"""The part of all faults whose first line must name the true cause."""


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest) -> str:
    """The image with Python in which faults of containers are planted."""
    client: APIClient = request.getfixturevalue("engine_client")
    return containers.actor_image(client)


@pytest.fixture(scope="session")
def trials(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, starter: Starter
) -> Iterator[Trials]:
    """All faults of this session, tried out some at a time."""
    made = Trials(
        items_of(request.session),
        tmp_path_factory.mktemp,
        lambda: str(request.getfixturevalue("image")),
        starter,
    )
    yield made
    made.close()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_first_line_names_the_true_cause(
    trials: Trials, case: Case, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    """The first line must name the cause, in at most 120 characters, with paths from the checkout, and only once."""
    if case.engine == COMPOSE:
        request.getfixturevalue("engine_client")
    told, fault = trials.ask(case), case.fault
    record_property(f"first lines that name the true cause [{case.engine}]", bool(re.search(fault.says, told.first)))
    assert re.search(fault.instead or fault.says, told.first), f"{told.first}\n\n{told.text}"
    if fault.instead:
        assert not re.search(fault.says, told.first), "it names the cause now: leave out `instead`"
    assert told.code == fault.code, told.text
    assert len(told.first) <= FIRST_LINE_LIMIT
    assert told.root not in told.first
    assert "Traceback" not in told.first


def test_nearly_every_first_line_names_the_true_cause() -> None:
    """Of the faults listed here, as many must be told by their cause as of those that users were seen to make."""
    named = sum(not fault.instead for fault in FAULTS)
    assert named / len(FAULTS) >= MOST, f"{named} of {len(FAULTS)}"
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
