"""What tests leave, in a pytest session: watched from the first stack that is asked for, and told with each test.

A session that asks for no stack is not watched; then the hooks do nothing.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pytest

from harness import runs
from harness.errors import Residue
from harness.pytest_resets import NOT_REMOVED

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from harness.config import Settings
    from harness.pytest_stacks import Stacks
    from harness.residue.allowing import Allowing
    from harness.residue.judging import Baseline, Found, Watch
    from harness.runs.stack import Stack

LEFT = "harness_residue"  # on reports of teardowns: what was left, as JSON values
PROPERTY = "residue"  # in junit.xml, also that of pytest itself
SECTION = "residue"
SHOWN = f"Captured {SECTION} teardown"  # as pytest shows it

_FOUND = pytest.StashKey["tuple[Found, ...]"]()


@dataclass
class _SetUp:
    """A fixture of wider scope than a test's that is being set up, and what stood before."""

    fixture: pytest.FixtureDef[Any]
    before: Baseline | None


class Leavings:
    """The hooks by which tests and fixtures are watched for what they leave.

    Args:
        config: of the session.
        stacks: of the session.
        say: takes a line for the user.
    """

    def __init__(self, config: pytest.Config, stacks: Stacks, say: Callable[[str], None]) -> None:
        self._config = config
        self._stacks = stacks
        self._say = say
        self._watch: Watch | None = None
        self._allowing: Allowing | None = None
        self._wanted = False
        self._item: pytest.Item | None = None
        self._open: list[_SetUp] = []
        self._services: set[tuple[str, str]] = set()

    # -- when it begins -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def bringing(self) -> Iterator[None]:
        """Watch from now on. What a stack brings with it, also what it seeds in another, is no test's."""
        self._wanted = True
        if self._item is not None:
            self._begin()
        if self._watch is None:
            yield
            return
        before = self._watch.begin_set_up()
        try:
            yield
        finally:
            self._watch.end_set_up(before)

    def _begin(self) -> None:
        """Begin to watch, if that is wanted and was not yet begun."""
        if self._watch is not None or not self._wanted:
            return
        settings = self._stacks.settings
        if settings.residue.mode == "off":
            self._wanted = False
            return
        self._watch, self._allowing = self._made(settings)
        self._watch.begin_test()
        for entry in self._open:
            entry.before = self._watch.begin_set_up()
        for stack in self._stacks.given:  # what was brought up before the first test
            self.take(stack, shared=True)

    def _made(self, settings: Settings) -> tuple[Watch, Allowing]:
        from harness.residue.allowing import Allowing  # noqa: PLC0415 - not for plain tests
        from harness.residue.judging import Watch  # noqa: PLC0415 - as above
        from harness.residue.processes import cookie  # noqa: PLC0415 - as above

        worker, alone = getattr(self._config, "workerinput", {}).get("workerid", ""), not self._has_others
        allowing = Allowing(settings.residue.allow)
        watch = Watch(allowing, self._say, worker=worker.removeprefix("gw") or "0", alone=alone)
        variables = self._stacks.variables
        variables.give(cookie())
        watch.add(runs.watched.of_process(settings, lambda: self._stacks.environment, lambda: variables.names))
        return watch, allowing

    @property
    def _has_others(self) -> bool:
        """Whether other workers run tests of this session."""
        return int(getattr(self._config, "workerinput", {}).get("workercount", 1)) > 1

    # -- stacks -------------------------------------------------------------------------------------------------

    def take(self, stack: Stack, *, shared: bool) -> None:
        """A stack was given to a test: watch its services, too."""
        environment = self._stacks.environment
        if self._watch is None or environment is None:
            return
        if not self._services:
            self._watch.add(runs.watched.of_environment(environment, lambda: self._stacks.names))
            environment.resetting = self._resetting
        for service in map(stack.service, stack.services):
            key = (service.stack, service.name)
            if key not in self._services:
                self._services.add(key)
                several = self._has_others and (shared or service.stack != stack.name)
                self._watch.add(runs.watched.of_service(service, environment, is_shared=several), key)

    def give_back(self, stack: Stack) -> None:
        """A stack is about to be given back: its services are watched no more."""
        for key in [key for key in self._services if key[0] == stack.name]:
            self._services.discard(key)
            if self._watch is not None:
                self._watch.drop(key)

    @contextlib.contextmanager
    def _resetting(self) -> Iterator[None]:
        """What comes back when a service is brought back to what was seeded is no test's."""
        assert self._watch is not None  # since services are watched
        before = self._watch.begin_set_up()
        try:
            yield
        finally:
            self._watch.end_set_up(before)

    # -- fixtures -----------------------------------------------------------------------------------------------

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)  # as in pytest_uses
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, None]:
        """What a fixture of wider scope than a test's makes is its own as long as it lasts."""
        if fixturedef.scope == "function":
            yield
            return
        entry = _SetUp(fixturedef, self._watch.begin_set_up() if self._watch else None)
        self._open.append(entry)
        yield
        self._open.remove(entry)
        if self._watch is not None and entry.before is not None:
            where = f", {fixturedef.baseid}" if fixturedef.baseid else ""
            label = f"fixture {fixturedef.argname!r} ({fixturedef.scope}{where})"
            self._watch.end_set_up(entry.before, fixturedef, label)

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """What a fixture made is to be gone when it was torn down."""
        if self._watch is not None:
            self._watch.end_tear_down(fixturedef)

    # -- tests --------------------------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        """Note what stands before a test."""
        self._item = item
        if self._watch is not None:
            self._watch.begin_test()
        else:
            self._begin()
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, None, None]:
        """Look what a test has left, whatever came out of it. Raises Residue where that is an error."""
        try:
            yield
        except (Exception, pytest.fail.Exception) as error:
            if not isinstance(error, pytest.exit.Exception):
                self._judge(item)
            raise
        finally:
            self._item = None
        found = self._judge(item)
        if found and self._stacks.settings.residue.mode == "fail":
            raise Residue(
                f"{item.name} left {len(found)} thing(s): {found[0]}", details=[f"  {one}" for one in found[1:]]
            )

    def _judge(self, item: pytest.Item) -> tuple[Found, ...]:
        if self._watch is None:
            return ()
        from harness.residue.judging import Found  # noqa: PLC0415 - as above

        refused = {(thing.kind, thing.name): thing for thing in item.stash.get(NOT_REMOVED, ())}
        with self._stacks.off_the_clock():  # what is just ending is waited for
            left = self._watch.end_test()
        seen = [one for one in left if (one.thing.kind, one.thing.name) not in refused]
        found = (*seen, *map(Found, refused.values()))
        if found:
            item.stash[_FOUND] = found
            for one in found:
                item.user_properties.append((PROPERTY, str(one)))
            item.add_report_section("teardown", SECTION, "\n".join(map(str, found)))
        return found

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Have the report of a teardown carry what was left."""
        report = yield
        if call.when == "teardown" and (found := item.stash.get(_FOUND, ())):
            setattr(report, LEFT, [{**asdict(one.thing), "by": one.by, "text": str(one)} for one in found])
        return report

    # -- end ----------------------------------------------------------------------------------------------------

    def unmatched(self) -> list[str] | None:
        """Return what was allowed and was not left by any test, None where nothing was watched."""
        if self._allowing is None:
            return None
        entries = self._stacks.settings.residue.allow
        return [str(entry) for entry in entries if entry not in self._allowing.matched]


def left_of(report: pytest.TestReport) -> list[dict[str, str]]:
    """Return what a report carries of what its test left."""
    return list(getattr(report, LEFT, ()))
