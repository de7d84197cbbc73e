"""Fixtures of the platform's suite: users with their keys, and a model of each test's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from integration_tests.platform.tests.suite import Deployer, Model, Platform, Version, manage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import harness


USERS = ("resident", "guest", "small")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse workers. Raises UsageError."""
    if getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("the platform's tests share one server, which some of them stop: run them without -n")


@pytest.fixture(scope="session")
def users(stack: harness.Stack) -> Iterator[dict[str, Platform]]:
    """The platform as each user sees it; they have one key for all tests."""
    keys = manage(stack, "api_key", *USERS).splitlines()
    platforms = {name: Platform(stack.url("django", 8000), key) for name, key in zip(USERS, keys, strict=True)}
    yield platforms
    for platform in platforms.values():
        platform.web.close()
    manage(stack, "api_key", *USERS, "--revoke", *(key.partition(".")[0] for key in keys))


@pytest.fixture
def platform(users: dict[str, Platform]) -> Platform:
    """The platform as the account of the tests sees it."""
    return users["resident"]


@pytest.fixture
def guest(users: dict[str, Platform]) -> Platform:
    """The platform as somebody else sees it."""
    return users["guest"]


@pytest.fixture
def starter(platform: Platform) -> Model:
    """The account's own model, which is up before the first test; nobody may change it."""
    (application,) = [one for one in platform.get("/api/applications")["applications"] if one["name"] == "starter"]
    return Model(platform, application["models"][0]["id"])


@pytest.fixture
def own(starter: Model) -> Version:
    """The version of the account's own model."""
    (version,) = starter.platform.get(starter.path)["versions"]
    return Version(starter.platform, version["id"])


@pytest.fixture
def make_model(ns: str) -> Iterator[Callable[..., Model]]:
    """A function that makes a model, in an application of this test's own, for a user; all of it is deleted."""
    made: list[tuple[Platform, int]] = []

    def make(platform: Platform, name: str = "model") -> Model:
        application = platform.made("/api/applications", {"name": f"{ns} {len(made)}"})["id"]
        made.append((platform, application))
        return Model(platform, platform.made(f"/api/applications/{application}/models", {"name": name})["id"])

    yield make
    left = [platform.ask("DELETE", f"/api/applications/{pk}") for platform, pk in made]
    assert {said.status for said in left} <= {200, 404}, left


@pytest.fixture
def model(platform: Platform, make_model: Callable[..., Model]) -> Model:
    """A model without versions."""
    return make_model(platform)


@pytest.fixture
def small(users: dict[str, Platform], make_model: Callable[..., Model]) -> Model:
    """A model without versions of a user who may have two deployments."""
    return make_model(users["small"])


@pytest.fixture
def deployer(stack: harness.Stack) -> Iterator[Deployer]:
    """What really runs."""
    deployer = Deployer(stack)
    yield deployer
    deployer.close()


@pytest.fixture
def rows(stack: harness.Stack) -> Callable[[], dict[str, int]]:
    """A function that counts the rows of each table."""
    return lambda: json.loads(manage(stack, "rows"))
