"""What is done after each test for the next: hooks that reset a server's memory, and what bears its name removed."""

from __future__ import annotations

import inspect
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from harness.errors import BrokenStack, ConfigError, HarnessError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from harness.pytest_stacks import Stacks
    from harness.residue.watching import Left
    from harness.runs.stack import Service

_Hook = TypeVar("_Hook", bound="Callable[[Service], object]")

# Functions that, when they are called, only return what is yet to be run.
_OTHERS = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
_SERVICES = "__harness_resets__"  # of a function: the services whose memory it resets
NOT_REMOVED: pytest.StashKey[list[Left]] = pytest.StashKey()
"""What bears a test's name and could not be removed, with the reason."""


def reset_hook(service: str) -> Callable[[_Hook], _Hook]:
    """Have a function of a conftest file called after each test that used a stack with this service.

    It is given the ``harness.Service``, after the test's fixtures were torn down and before it is looked at what the
    test left. When it raises, that is an error of the test. It is no coroutine function, and yields nothing.

    Args:
        service: its name.

    Raises:
        ConfigError: it names no service, or the function is none that can be called so.
    """
    if not isinstance(service, str):
        raise ConfigError(f"harness.reset_hook is given {service!r}; the name of a service was needed")

    def declare(function: _Hook) -> _Hook:
        if not isinstance(function, types.FunctionType) or any(is_other(function) for is_other in _OTHERS):
            raise ConfigError(f"harness.reset_hook({service!r}) is put on {function!r}; a plain function was needed")
        setattr(function, _SERVICES, (*getattr(function, _SERVICES, ()), service))
        return function

    return declare


@dataclass(frozen=True)
class _Declared:
    function: types.FunctionType
    service: str

    def __str__(self) -> str:
        code = self.function.__code__
        place = f"{code.co_filename}:{code.co_firstlineno}"
        return f"Reset hook {self.function.__name__!r} of service {self.service!r} ({place})"


def _call(hook: _Declared, service: Service) -> None:
    """Call a hook. Raises what it raises, and TypeError when it only returns what is yet to be run."""
    result = hook.function(service)
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError(f"it returned a {type(result).__name__}, which nobody awaits; None was needed")


class Resets:
    """The hooks of pytest by which the end of a test is made the beginning of the next one.

    Args:
        stacks: of the session.
    """

    def __init__(self, stacks: Stacks) -> None:
        self._stacks = stacks
        self._declared: dict[_Declared, None] = {}
        self._told: set[_Declared] = set()  # those that are never called
        self._seen: set[str] = set()  # services of stacks that tests have used

    def pytest_plugin_registered(self, plugin: object) -> None:
        """Find what a conftest file declares; pytest tells of those that were loaded before, too."""
        values = list(vars(plugin).values()) if isinstance(plugin, types.ModuleType) else []
        for function in values:
            if isinstance(function, types.FunctionType):
                names: tuple[str, ...] = getattr(function, _SERVICES, ())
                self._declared |= dict.fromkeys(_Declared(function, name) for name in names)

    def pytest_pycollect_makeitem(self, obj: object) -> None:
        """Tell of hooks that stand in modules of tests, where nobody looks for them."""
        if not isinstance(obj, types.FunctionType) or not hasattr(obj, _SERVICES):
            return
        for hook in (_Declared(obj, name) for name in getattr(obj, _SERVICES)):
            if hook not in self._declared and hook not in self._told:
                self._told.add(hook)
                self._stacks.say(f"{hook} is never called: it was looked for in conftest files only")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Call the hooks, and remove what bears the test's name, when its fixtures are torn down."""
        used = self._stacks.services_of(item)  # before what fixtures were given is forgotten
        failed: BaseException | None = None
        result = None
        try:
            result = yield
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - it is raised below
            failed = error
        services = [service for service in used if self._stacks.has(service)]
        for failure in self._reset(item, services):
            failed = failed or failure
        with self._stacks.off_the_clock():
            self._remove(item, services)
        if failed:
            raise failed
        return result

    def _reset(self, item: pytest.Item, services: Sequence[Service]) -> Iterator[Exception]:
        """Call the hooks of a test's services; give what they raised."""
        self._seen.update(service.name for service in services)
        for hook in self._declared:
            for service in services:
                if service.name != hook.service:
                    continue
                try:
                    _call(hook, service)
                except BrokenStack as error:
                    yield error
                except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - it is the hook's own
                    failure = HarnessError(f"{hook} failed after {item.name}: {type(error).__name__}: {error}")
                    failure.__cause__ = error
                    yield failure

    def _remove(self, item: pytest.Item, services: Sequence[Service]) -> None:
        """Remove what bears a name that a test was given, in all stores of its stacks."""
        environment = self._stacks.environment
        if environment is None or environment.closed or not self._stacks.names:
            return
        from harness.runs.places import place_of  # noqa: PLC0415 - not for plain tests

        places = [place for service in services if (place := place_of(service))]
        for name in self._stacks.names:
            item.stash.setdefault(NOT_REMOVED, []).extend(environment.stores.remove(places, name))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Tell of hooks that were never called since their service is misspelt, as far as that can be seen."""
        for hook in self._declared:
            meant = nearest(hook.service, self._seen)
            if hook.service not in self._seen and meant:
                self._stacks.say(f"{hook} was never called: no stack of its tests has that service{meant}")
