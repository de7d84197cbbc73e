"""Which engine a run gets, and why that one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.daemon import AUTO_BUDGET, ask, find_daemon
from harness.engine.attach.driver import Attach
from harness.engine.attach.plan import NAME as ATTACH
from harness.engine.compose.driver import Compose
from harness.engine.compose.plan import NAME as COMPOSE
from harness.engine.process.driver import Embedded
from harness.engine.process.plan import NAME as EMBEDDED
from harness.errors import EngineUnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.config import Settings
    from harness.engine.driver import Driver


def choose_engine(settings: Settings, kept: Mapping[str, str] | None = None) -> tuple[Driver, str]:
    """Return the engine of a run and, in a few words, why it is that one.

    Args:
        settings: what was asked for.
        kept: the engines on which this checkout has a live kept environment -> its id.

    Raises:
        ConfigError: the Docker context does not exist.
        EngineUnreachableError: an engine was configured, on CI, and does not answer.
    """
    if settings.engine == EMBEDDED:
        return Embedded(), f"asked for by {settings.origins['engine']}"
    if settings.engine == ATTACH:
        return Attach(settings), f"asked for by {settings.origins['engine']}"
    if settings.engine == COMPOSE:
        return Compose(find_daemon(settings.environ)), f"asked for by {settings.origins['engine']}"
    for name, env in (kept or {}).items():
        why = f"auto: {env} is up"
        return (Embedded(), why) if name == EMBEDDED else (Compose(find_daemon(settings.environ)), why)
    daemon = find_daemon(settings.environ)
    if not daemon.is_local and not settings.environ.get("CI"):
        return Embedded(), f"auto: Docker engine {daemon.host} ({daemon.origin}) is not on this machine"
    try:
        version = ask(daemon, within=AUTO_BUDGET).version
    except EngineUnreachableError as error:
        if daemon.configured and settings.environ.get("CI"):
            raise
        reason = error.summary.rpartition("does not answer: ")[2]
        return Embedded(), f"auto: no Docker engine answers at {daemon.host} ({daemon.origin}): {reason}"
    return Compose(daemon), f"auto: Docker engine {version} answers at {daemon.host} ({daemon.origin})"
