"""Which stacks a test uses, told from its fixtures: those that gave one when they were set up, and their users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable


class Uses:
    """What the plugin learns while fixtures are set up and torn down.

    Attributes:
        of_all: the stacks that every test uses.
    """

    def __init__(self) -> None:
        self._of_fixture: dict[pytest.FixtureDef[Any], set[str]] = {}
        self._parameter: dict[pytest.FixtureDef[Any], object] = {}
        self._being_set_up: list[pytest.FixtureDef[Any]] = []
        self._of_test: set[str] = set()
        self.of_all: frozenset[str] = frozenset()

    def always(self, stacks: Iterable[str]) -> None:
        """Note stacks that every test from now on uses, whatever its fixtures are."""
        self.of_all |= frozenset(stacks)

    def begin(self) -> None:
        """A test begins, which has asked for no stack by itself yet."""
        self._of_test.clear()

    def add(self, stacks: Iterable[str]) -> None:
        """Note that stacks were given, to the test that runs and to every fixture that is being set up."""
        names = set(stacks)
        self._of_test |= names
        for fixture in self._being_set_up:
            self._of_fixture.setdefault(fixture, set()).update(names)

    def of(self, item: pytest.Item) -> frozenset[str]:
        """Return the stacks of a test: those it got by itself, and those of its fixtures that are set up."""
        names = {*self.of_all, *self._of_test}
        for fixture in _fixtures_of(item):
            stacks = self._of_fixture.get(fixture)
            if stacks and self._is_for(fixture, item):
                names |= stacks
        return frozenset(names)

    def _is_for(self, fixture: pytest.FixtureDef[Any], item: pytest.Item) -> bool:
        """Return whether a fixture that is set up is so with the parameter that a test wants."""
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        # By identity, as pytest does it: an array has no single answer to "equal?".
        return fixture.argname not in parameters or parameters[fixture.argname] is self._parameter.get(fixture)

    @pytest.hookimpl(hookwrapper=True)  # through a new-style wrapper a fixture's own error would pass, and show it
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, None]:
        """Note which fixtures are being set up."""
        self._of_fixture.pop(fixturedef, None)
        self._parameter[fixturedef] = getattr(request, "param", None)
        self._being_set_up.append(fixturedef)
        yield
        self._being_set_up.remove(fixturedef)

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """What was torn down gives no stack any more."""
        self._of_fixture.pop(fixturedef, None)


def _fixtures_of(item: pytest.Item) -> set[pytest.FixtureDef[Any]]:
    """Return the fixtures that a test has asked for until now, and those that it names."""
    # pytest tells neither by a public name; items of other plugins may have neither.
    active = getattr(getattr(item, "_request", None), "_fixture_defs", {})
    named = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    return {*active.values(), *(fixtures[-1] for fixtures in named.values() if fixtures)}
