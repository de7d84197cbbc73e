"""Kept environments: what ``up`` leaves and ``down`` removes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from harness.engine.attach.plan import NAME as ATTACH
from harness.errors import OK, BrokenStack, ConfigError, HarnessError, nearest, refuse_leftovers
from harness.keeper.living import find_living
from harness.keeper.messages import Down, Services
from harness.ownership.sweep import Swept, sweep
from harness.runs.building import build_images, outdated
from harness.runs.choice import choose
from harness.runs.data import disposable, empty, written_since
from harness.runs.environment import KEEPER_BUDGET, finish
from harness.runs.known import changing, checkout_of, kept_here, linked, records_on_engine, services_of
from harness.runs.lives import failed_hook
from harness.runs.run import Run, running

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.config import Settings
    from harness.keeper.messages import Event, StackFacts
    from harness.ownership.ledger import LedgerRecord
    from harness.runs.choice import Choice
    from harness.runs.stack import Stack

BROUGHT_UP, TAKEN_DOWN = "brought up", "taken down"


def up(
    settings: Settings,
    say: Callable[[str], None],
    *,
    ttl: float | None = None,
    fresh: bool = False,
    keep_failed: bool = False,
) -> dict[str, str]:
    """Bring up the chosen stack and leave it up; return its endpoints (``SERVICE:PORT`` -> ``host:port``).

    What is up already and unchanged is left alone. Services that changed since are replaced, with those that must see
    it; when more of a stack was changed, everything is started anew.

    Args:
        settings: what was asked for.
        say: takes lines for the user.
        ttl: seconds that it may stay unused, None for what the settings say.
        fresh: whether what is up is removed first, with all data, so that seeds run again.
        keep_failed: whether a stack that does not settle is left as it is, for a look, until ``down``.

    Raises:
        ConfigError: something written is wrong; nothing was created.
        BrokenStack: the stack did not settle; what was started for it is gone, unless it was to be kept.
    """
    if settings.engine == ATTACH:
        raise ConfigError("Engine attach starts nothing, so there is nothing that `up` could leave up")
    name = settings.default_stack()
    with changing(settings, BROUGHT_UP, say):
        choice = choose(settings)  # once until something is taken down
        run = Run(choice, say, new_run=False)
        run.keeps_failed = keep_failed
        engine = choice.engine.name
        anew = _reason_to_start_anew(choice, run, say, fresh=fresh)
        if not anew:
            if fresh:
                _empty_data(choice, say)
            with running(run):
                stack = run.bring(name)
                if not run.reuse.changed:
                    return _leave_up(run, stack, ttl)
            anew = f"{', '.join(run.reuse.changed)}: changed since it was started"
        say(f"{anew}; everything is started anew")
        _down(settings, say, [record for record in records_on_engine(settings) if record.engine == engine])
        if fresh:
            _empty_data(choice, say)
        run = Run(choose(settings), say, new_run=False)
        run.keeps_failed = keep_failed
        with running(run):
            return _leave_up(run, run.bring(name), ttl)


def _empty_data(choice: Choice, say: Callable[[str], None]) -> None:
    """Empty the folders of the checkout that the chosen stack calls disposable. Raises BrokenStack."""
    root, used = choice.settings.root, _data_in_use(choice.settings)
    for stack in choice.read(choice.settings.default_stack()).stacks:
        for folder in disposable(stack, root):
            if folder in used:
                raise BrokenStack(
                    f"{folder.relative_to(root)} is not emptied: {used[folder]} is up and uses it",
                    hint="`harness down`",
                )
            empty(folder, root)
            say(f"{folder.relative_to(root)} is emptied")


def _data_in_use(settings: Settings) -> dict[Path, str]:
    """Return folder of this checkout -> the environment that lives and may write to it."""
    used: dict[Path, str] = {}
    for record in find_living(settings.state) if settings.state.is_dir() else ():
        if record.checkout == checkout_of(settings):
            for facts in services_of(record)["stacks"].values():
                used |= {Path(folder): record.env for folder in (facts["record"] or {}).get("data", ())}
    return used


def _leave_up(run: Run, stack: Stack, ttl: float | None) -> dict[str, str]:
    """Keep a stack; return its endpoints."""
    assert run.environment is not None  # there is a stack in it
    run.environment.keep(ttl or run.settings.ttl, [stack.name])
    run.environment.report.note("exit_code", OK)
    return stack.endpoints()


def _reason_to_start_anew(choice: Choice, run: Run, say: Callable[[str], None], *, fresh: bool) -> str:
    """Return why what is up cannot be used, "" when it can or nothing is up; have the run know of images built anew."""
    if not choice.is_up:
        for other in choice.kept.values():
            say(f"{other.env} is up as well, on engine {other.engine}; --engine says which one tasks and tests use")
        return ""
    if fresh:
        return "--fresh"
    stacks = services_of(choice.kept[choice.engine.name])["stacks"]
    if failed := [name for name, facts in stacks.items() if (facts["record"] or {}).get("failed")]:
        return f"{', '.join(failed)}: did not settle and was left for a look"
    if choice.settings.build == "always":
        build_images(choice, say)
        run.reuse.outdated |= set(outdated(choice.settings))
    return ""


def down(settings: Settings, say: Callable[[str], None], *, stack: str = "") -> None:
    """Stop and remove the kept environments of this checkout, verified. Nothing being up is no error.

    Args:
        settings: whose, and on which engine.
        say: takes lines for the user.
        stack: only this one, and what only it used.

    Raises:
        ConfigError: there is no such stack.
        LeftoverError: something of it could not be removed.
    """
    if not settings.state.is_dir() and not kept_here(settings):
        say("nothing is up here")
        return
    with changing(settings, TAKEN_DOWN, say):
        swept = _sweep(settings, say)
        records = records_on_engine(settings)
        here = [dead for dead in swept.uncleared if dead.checkout == checkout_of(settings)]
        if not records and not here:
            say("nothing is up here")
        _down(settings, say, records, stack=stack, left=[str(dead) for dead in here])


def down_all(settings: Settings, say: Callable[[str], None]) -> None:
    """Stop and remove all kept environments of this user on this machine, listed first.

    Raises:
        LeftoverError: something of them could not be removed.
    """
    swept = _sweep(settings, say)
    records = [
        record for record in find_living(settings.state) if record.kept and settings.engine in ("auto", record.engine)
    ]
    if not records and not swept.uncleared:
        say("nothing is up on this machine")
    for record in records:
        say(f"{record.env} on {record.engine}, of {record.checkout}")
    _down(settings, say, records, left=[str(dead) for dead in swept.uncleared])


def _sweep(settings: Settings, say: Callable[[str], None]) -> Swept:
    swept = sweep(settings.state) if settings.state.is_dir() else Swept()
    for line in swept.lines():
        say(line)
    return swept


def _down(
    settings: Settings,
    say: Callable[[str], None],
    records: list[LedgerRecord],
    stack: str = "",
    left: Sequence[str] = (),
) -> None:
    """Take environments down, or a stack of them. ``left`` is what is known to stay of others.

    Raises:
        ConfigError: there is no such stack.
        LeftoverError: something stays.
    """
    left, chosen = list(left), records
    if stack:
        chosen = []
        names: set[str] = set()
        for record in records:
            try:
                stacks = services_of(record)["stacks"]
            except BrokenStack as error:
                left.append(_in_one_line(error))
                continue
            names.update(stacks)
            chosen += [record] if stack in stacks else []
        if records and not chosen and not left:
            raise ConfigError(
                f"Stack {stack!r} is not up; there are: {', '.join(sorted(names))}{nearest(stack, names)}"
            )
    for record in chosen:
        try:
            left += _down_one(settings, record, say, stack)
        except HarnessError as error:  # of the others none is left up for that
            left.append(_in_one_line(error))
    refuse_leftovers(left)


def _in_one_line(error: HarnessError) -> str:
    return f"{error.summary}; {error.hint}" if error.hint else error.summary


def _down_one(settings: Settings, record: LedgerRecord, say: Callable[[str], None], stack: str) -> list[str]:
    def hear(message: Event) -> None:
        if message["event"] == "hook-failed":
            say(failed_hook(message))

    with linked(record, hear) as link:
        data = _data_in(link.ask(Services())["stacks"], stack)
        try:
            answer = link.ask_to_remove(Down(stack))
        except BrokenStack:
            if not link.lost:
                raise
            say(f"the keeper of {record.env} was killed; all that it kept is removed")
            return finish(settings, record.env, link.facts["pid"], link.facts["start"])
        left = list(answer["left"])
        what = f"stack {stack!r} of {record.env}" if stack else record.env
        if answer["held_by"]:
            say(f"{what} is kept no longer; it is still used by {', '.join(answer['held_by'])}")
        elif stack and stack in answer["stacks"]:
            say(f"{what} is kept no longer by itself; {', '.join(answer['kept'])} still needs it")
        elif stack and answer["kept"]:
            say(f"{what} is down; still up: {', '.join(answer['stacks'])}")
        elif not link.wait_until_keeper_ended(KEEPER_BUDGET):
            left.append(f"the keeper of {record.env}")
        elif not left:
            say(f"{what} is down, nothing is left")
        if data:
            shown = ", ".join(os.path.relpath(folder, settings.root) for folder in data)
            say(f"what services wrote to {shown} stays; named in x-harness.data, `up --fresh` empties it")
    return left


def _data_in(stacks: Mapping[str, StackFacts], stack: str) -> list[Path]:
    """Return the folders of the checkout that services have written to, of all stacks or one."""
    found: list[Path] = []
    for name, facts in stacks.items():
        record = facts["record"] or {}
        if not stack or name == stack:
            found += written_since(map(Path, record.get("data", ())), record.get("since", 0.0))
    return list(dict.fromkeys(found))


def replace_changed(settings: Settings, say: Callable[[str], None]) -> None:
    """Make the services of what is up again that changed: before workers come, each of which would see the others.

    Raises:
        ConfigError: something written is wrong.
        BrokenStack: a service did not become ready again.
    """
    choice = choose(settings)
    record = choice.kept.get(choice.engine.name)
    if record is None:
        return
    run = Run(choice, say)
    with running(run):
        for facts in services_of(record)["stacks"].values():
            if files := (facts["record"] or {}).get("files"):  # a cell of a matrix has none
                run.bring(os.pathsep.join(files))
