"""What the tests of first lines share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import containers
import pytest
from trying import Trials, items_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker import APIClient


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest) -> str:
    """The image with Python in which faults of containers are planted."""
    client: APIClient = request.getfixturevalue("engine_client")
    return containers.actor_image(client)


@pytest.fixture(scope="session")
def trials(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    """All faults of this session, tried out some at a time."""
    made = Trials(
        items_of(request.session),
        tmp_path_factory.mktemp,
        lambda: str(request.getfixturevalue("image")),
    )
    yield made
    made.close()
