"""Which engine a run gets, and why that one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.daemon import AUTO_BUDGET, ask, find_daemon, rootless
from harness.engine.attach.driver import Attach
from harness.engine.attach.plan import NAME as ATTACH
from harness.engine.compose.driver import Compose
from harness.engine.compose.plan import NAME as COMPOSE
from harness.engine.process.driver import Embedded
from harness.engine.process.plan import NAME as EMBEDDED
from harness.errors import EngineUnreachableError
from harness.locality import why_elsewhere

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.config import Settings
    from harness.daemon import Daemon
    from harness.engine.driver import Driver
    from harness.engine.known import Known
    from harness.engine.plan import ServicePlan

DRIVERS: dict[str, Callable[[Settings, Daemon | None], Driver]] = {
    ATTACH: lambda settings, _: Attach(settings),
    COMPOSE: lambda settings, daemon: _compose(settings, daemon or find_daemon(settings.environ)),
    EMBEDDED: lambda _, __: Embedded(),
}
"""Engine -> what makes its driver, given the settings and the Docker engine that is in use already, if one is."""


def _compose(settings: Settings, daemon: Daemon) -> Compose:
    return Compose(daemon, inside=bool(settings.inside))


def driver_of(service: ServicePlan | Known, engine: Driver) -> Driver:
    """Return the driver of one service in an environment on ``engine``: a local process is one on every engine."""
    return Embedded() if service.is_local else engine


def choose_engine(settings: Settings, kept: Mapping[str, str] | None = None) -> tuple[Driver, str]:
    """Return the engine of a run and, in a few words, why it is that one.

    Args:
        settings: what was asked for.
        kept: the engines on which this checkout has a live kept environment -> its id.

    Raises:
        ConfigError: the Docker context does not exist.
        EngineUnreachableError: an engine was configured, on CI, and does not answer.
    """
    if settings.engine in DRIVERS:
        return DRIVERS[settings.engine](settings, None), f"asked for by {settings.origins['engine']}"
    for name, env in (kept or {}).items():
        return DRIVERS[name](settings, None), f"auto: {env} is up"
    daemon = find_daemon(settings.environ)
    # On CI, and with --inside, nobody wants to be told of it by other results.
    if not (settings.environ.get("CI") or settings.inside) and (why := why_elsewhere(daemon)):
        return Embedded(), f"auto: Docker engine {daemon.host} ({daemon.origin}) is not on this machine: {why}"
    try:
        answer = ask(daemon, within=AUTO_BUDGET)
        problem = rootless(daemon, within=AUTO_BUDGET) if answer.is_podman else ""
    except EngineUnreachableError as error:
        if daemon.configured and settings.environ.get("CI"):
            raise
        reason = error.summary.rpartition("does not answer: ")[2]
        return Embedded(), f"auto: no Docker engine answers at {daemon.host} ({daemon.origin}): {reason}"
    if problem:
        return Embedded(), f"auto: {problem}"
    return _compose(settings, daemon), f"auto: {answer} answers at {daemon.host} ({daemon.origin})"
