"""Services on an engine that is elsewhere, reached at their addresses here by way of the container that waits there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.engine.compose.wire import ExecWire
from harness.errors import BrokenStack, ConfigError
from harness.locality import why_elsewhere
from harness.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.engine import StackPlan
    from harness.engine.known import Known
    from harness.runs.choice import Choice
    from harness.runs.environment import Environment
    from harness.stack import Stack


def find_relay(choice: Choice, environment: Environment) -> Relay | None:
    """Return what passes on connections to an environment's containers, None where they can be reached from here."""
    daemon = choice.engine.daemon
    if environment.relay is None and daemon and why_elsewhere(daemon):
        environment.relay = Relay(f"the container of service {choice.settings.inside!r}")
    return environment.relay


def listen(relay: Relay, plan: StackPlan, say: Callable[[str], None]) -> None:
    """Listen at the addresses of a stack's services. Raises BrokenStack when somebody else does."""
    for service in plan.services:
        for end in service.endpoints:
            if end.protocol != "tcp":
                say(f"service {service.service!r}: {end.left}/{end.protocol} is not passed on from an engine elsewhere")
                continue
            try:
                relay.listen(end.host, end.port, service.service, end.right)
            except OSError as error:
                raise BrokenStack(
                    f"Service {service.service!r}: nobody can listen at {end} for it: {error.strerror or error}",
                    service=service.service,
                ) from error


def is_used(stack: Stack) -> ConfigError:
    """Return the error for a container that waits, and which another run has made."""
    return ConfigError(
        f"Service {stack.services[0].name!r} is used by another run with --inside in this checkout now",
        hint="wait for its end, or `harness down` first, so that each run has an environment of its own",
    )


def join(environment: Environment, waiting: Known) -> None:
    """Have connections made from a container that waits, where nothing else can, and tests run in it.

    Raises:
        HarnessError: no program can be run in it.
        Unreached: it has no Python.
    """
    if environment.relay:
        assert environment.daemon is not None  # it has containers
        environment.relay.connect(ExecWire(environment.daemon, waiting.container))
    environment.inside.set_result(waiting)
