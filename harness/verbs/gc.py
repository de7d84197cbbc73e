"""What dead runs left: listed, then removed, by the sweep that every start makes too. Only what is provably ours."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.artifacts import private_folder
from harness.daemon import AUTO_BUDGET, connect, find_daemon
from harness.durations import parse_age
from harness.errors import ConfigError, EngineUnreachableError, HarnessError, LeftoverError
from harness.keeper.living import Hung, end, find_hung, find_living
from harness.ownership.ledger import SUFFIX, keeper_is_alive
from harness.ownership.sweep import Cleared, Dead, Swept, find_dead, sweep
from harness.ownership.sweep import forget as forget_dead

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.config import Settings
    from harness.daemon import Daemon
    from harness.images.unused import Limits

__all__ = ["Dead", "Found", "forget", "gc", "images", "limits_of", "look"]


@dataclass(frozen=True)
class Found:
    """What a look found.

    Attributes:
        dead: environments of dead runs.
        hung: environments whose keepers do not answer.
        notes: lines about environments that live without their ledger, and about what could not be looked at.
    """

    dead: tuple[Dead, ...]
    hung: tuple[Hung, ...] = ()
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return all of it for people."""
        return [*self.notes, *map(str, self.hung), *map(str, self.dead)]


def look(settings: Settings) -> Found:
    """Return what dead runs left, and what lives and cannot be seen or talked to. Nothing is changed."""
    return _look(settings, *_daemon(settings))


def _look(settings: Settings, daemon: Daemon | None, notes: list[str]) -> Found:
    dead, more = find_dead(settings.state, daemon, settings.keys) if settings.state.is_dir() or daemon else ([], [])
    living = find_living(settings.state)
    hung = find_hung(living)
    silent = [environment.record for environment in hung]
    notes += [
        f"environment {record.env} of {record.checkout} lives (keeper: pid {record.keeper.pid}) and has no ledger in "
        f"{settings.state}" + ("; `harness down --all` takes it down" if record.kept else "")
        for record in living
        if record not in silent and not keeper_is_alive(settings.state / record.path.name)
    ]
    return Found(tuple(dead), tuple(hung), (*notes, *more))


def _daemon(settings: Settings) -> tuple[Daemon | None, list[str]]:
    if settings.engine == "embedded":
        return None, []
    try:
        daemon = find_daemon(settings.environ)
        connect(daemon, within=AUTO_BUDGET).close()
    except EngineUnreachableError as error:
        if settings.engine == "compose":
            raise
        return None, [f"containers were not looked for: {error.summary}"]
    except HarnessError as error:
        return None, [f"containers were not looked for: {error.summary}"]
    return daemon, []


def gc(settings: Settings, say: Callable[[str], None], *, hung: bool = False) -> Swept:
    """Remove what dead runs left; return what became of it.

    Args:
        settings: whose, and on which engine.
        say: takes lines for the user.
        hung: whether keepers that do not answer are ended first, so that what they kept is left by the dead too.

    Raises:
        LeftoverError: something of it could not be removed.
    """
    daemon, notes = _daemon(settings)  # asked once: one that is silent takes its whole time each time
    found = _look(settings, daemon, notes)
    for line in found.lines():
        say(line)
    ended = [_end(keeper, say) for keeper in found.hung] if hung else []
    swept = sweep(private_folder(settings.state), daemon=daemon, keys=settings.keys)
    swept = replace(swept, environments=(*ended, *swept.environments))
    if left := swept.uncleared:
        raise LeftoverError(
            f"Tidying left {len(left)} environment(s): {left[0]}", details=[f"  {line}" for line in swept.lines()]
        )
    return swept


def _end(hung: Hung, say: Callable[[str], None]) -> Cleared:
    """End a keeper that does not answer, and remove what it kept."""
    say(f"ending the keeper of {hung.record.env} (pid {hung.record.keeper.pid})")
    return Cleared(hung.record.env, hung.record.checkout, tuple(end(hung)))


def forget(settings: Settings, env: str) -> str:
    """Clear what can be cleared of a dead environment, and forget what is left of it on its engine.

    Args:
        settings: of the command.
        env: its id.

    Returns:
        What became of it, a line for people.

    Raises:
        ConfigError: there is none, or it is not proven dead; nothing was touched.
        LeftoverError: something of it on this machine could not be removed.
    """
    daemon, _ = _daemon(settings)
    state = private_folder(settings.state)
    cleared = forget_dead(state, env, daemon=daemon)
    if cleared.left and (state / f"{env}{SUFFIX}").exists():
        raise LeftoverError(f"{cleared}, so it is not forgotten")
    return f"environment {env} is forgotten; left are: {', '.join(cleared.left)}" if cleared.left else str(cleared)


def limits_of(older_than: str, larger_than: str) -> Limits:
    """Return which unused images are meant, all that may go without words about it; such as 7d and 500M.

    Raises:
        ConfigError: one of these is no time or size.
    """
    from harness.images import unused  # noqa: PLC0415 - for images only

    try:
        age = parse_age(older_than) if older_than else None
    except ValueError as error:
        raise ConfigError(f"--older-than {older_than!r}: {error}") from error
    try:
        return unused.Limits(age, unused.parse_size(larger_than) if larger_than else 0)
    except ValueError as error:
        raise ConfigError(f"--larger-than {larger_than!r}: {error}") from error


def images(settings: Settings, limits: Limits, *, remove: bool) -> dict[str, str]:
    """Return the images of ours that nothing uses, in words -> why they are still there, "" when they are removed.

    Args:
        settings: of the command.
        limits: which of them.
        remove: whether they are removed, or only looked for.

    Raises:
        HarnessError: the engine does not answer, or refuses to list them.
    """
    from harness.images import unused  # noqa: PLC0415 - with an engine only

    with closing(connect(find_daemon(settings.environ))) as client:
        found = [image for image in unused.find_unused(client, settings.environ) if limits.take(image)]
        return unused.remove(client, found) if remove else {str(image): "" for image in found}
