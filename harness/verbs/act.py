"""Acts on one service or stack that is up: run a command in it, restart it, plant its seeds."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.clock import Deadline, now
from harness.engine.choice import DRIVERS, driver_of
from harness.engine.known import Known
from harness.errors import BrokenStack, ConfigError, HarnessError
from harness.keeper.messages import Settled
from harness.runs.changes import seed_files
from harness.runs.choice import choose
from harness.runs.known import changing, find_service, records_here, services_of
from harness.runs.planning import Planned, Site, store_for
from harness.runs.run import Run, running
from harness.runs.settling import Settling
from harness.runs.stack import Stack
from harness.seeding import Surroundings, plant_within
from harness.stack import broker_of, by_number, read_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.config import Settings
    from harness.keeper.messages import StackFacts
    from harness.ownership.ledger import LedgerRecord
    from harness.runs.environment import Environment
    from harness.stack import Tree

DEFAULT_GRACE = 2.0


def execute(settings: Settings, service: str, argv: Sequence[str]) -> int:
    """Run a command in a service that is up, on this terminal; return its exit code.

    In a container it has no standard input. As a process it has the service's environment, folder and mounted files.

    Raises:
        ConfigError: nothing is up, there is no such service, or the command cannot be run.
    """
    record, known = find_service(settings, service)
    driver = driver_of(known, DRIVERS[record.engine](settings, record.daemon))
    return driver.execute_here(known, known.map_words(argv))


@contextmanager
def _using(settings: Settings, record: LedgerRecord, say: Callable[[str], None]) -> Iterator[tuple[Run, Environment]]:
    """Open a run on a kept environment, with a folder of its own."""
    run = Run(choose(replace(settings, engine=record.engine)), say)
    with changing(settings, "restarted or seeded", say), running(run):
        environment = run.open()
        if environment.env != record.env:
            raise BrokenStack(f"{record.env} went down meanwhile")
        yield run, environment


def _tree(settings: Settings, record: dict[str, Any]) -> Tree:
    """Return the tree of a stack that is up, from the files that it was started from."""
    return read_tree(
        [Path(file) for file in record["files"]], settings.environ, profiles=record["profiles"], folder=settings.root
    )


def restart(settings: Settings, say: Callable[[str], None], service: str) -> float:
    """Stop and start a service that is up, and wait until it is ready again; return the seconds that it took.

    Raises:
        ConfigError: nothing is up, or there is no such service.
        BrokenStack: it ended, or did not become ready.
    """
    record, known = find_service(settings, service)
    stacks = services_of(record)["stacks"]
    if "files" not in stacks[known.stack]["record"]:
        raise ConfigError(
            f"{known.stack}/{known.service} has no file that makes it again: "
            "a role of a cell is run again by `interop.run`, a copy of a template is whose deployer it is"
        )
    tree = _tree(settings, stacks[known.stack]["record"])
    if tree.root.service(known.service) is None:
        raise ConfigError(f"Service {known.service!r} is no longer in {tree.root.files[0]}", hint="`up` starts anew")
    began = now()
    with _using(settings, record, say) as (run, environment):
        plan = Site(run.choice, environment, tree).plan_again(tree.root)
        planned = Planned(
            environment,
            tree,
            tree.root,
            {service.service: service for service in plan.services},
            lambda name, port: "{}:{}".format(*_address(_everything(stacks), name, port)),
        )
        Settling(planned, say).restart(known.service, known.grace or DEFAULT_GRACE)
    return now() - began


def _everything(stacks: dict[str, StackFacts]) -> dict[str, Known]:
    """Return service -> what is known of it, of all stacks that are up."""
    tables = [table for stack in stacks.values() for table in stack["record"].get("services", {}).values()]
    return {table["service"]: Known.from_dict(table) for table in tables}


def _address(known: dict[str, Known], service: str, port: int) -> tuple[str, int]:
    end = by_number(known[service].endpoints).get(port) if service in known else None
    if end:
        return end.host, end.port
    raise BrokenStack(f"Service {service!r} publishes no port {port}, or is not up")


def seed(settings: Settings, say: Callable[[str], None], *, fresh: bool = False, stack: str = "") -> list[str]:
    """Plant the seeds of what is up that were not planted yet, in order; return their names as ``STACK/KEY``.

    Args:
        settings: whose.
        say: takes lines for the user.
        fresh: whether those that were planted are planted again. Nothing is emptied: `up --fresh` does that.
        stack: only those of this one.

    Raises:
        ConfigError: nothing is up, no such stack is, or its files cannot be read.
        BrokenStack: a seed was refused.
    """
    planted: list[str] = []
    for kept in records_here(settings):
        stacks = services_of(kept)["stacks"]
        if stack and stack not in stacks:
            raise ConfigError(f"Stack {stack!r} is not up; there are: {', '.join(stacks)}")
        for name, facts in stacks.items():
            if stack in ("", name) and "files" in facts["record"]:  # a cell of a matrix has none, and no seeds
                planted += [f"{name}/{key}" for key in _plant(settings, say, kept, facts["record"], fresh=fresh)]
    return planted


def _plant(
    settings: Settings, say: Callable[[str], None], kept: LedgerRecord, record: dict[str, Any], *, fresh: bool
) -> list[str]:
    tree = _tree(settings, record)
    done = set() if fresh else set(record["seeds"])
    todo = [declared.key for declared in tree.root.settings.seed if declared.key not in done]
    if not todo:
        return []
    known = {name: Known.from_dict(table) for name, table in record["services"].items()}
    files = seed_files(tree.root)
    with _using(settings, kept, say) as (run, environment):
        everything = _everything(services_of(kept)["stacks"]) | known
        around = Surroundings(
            folder=tree.root.folder,
            broker=lambda written: "{}:{}".format(
                *_address(everything, *broker_of(written, None, tree, tree.root.name))
            ),
            address=lambda service, port: _address(everything, service, port),
            store=lambda kind, written: store_for(
                kind, written, tree, tree.root.name, lambda service, port: _address(everything, service, port)
            ),
            execute=lambda service, argv, timeout: environment.execute(_known(everything, service), argv, timeout),
            stack=Stack(tree.root.name, everything, environment, list),
        )
        for one in Site(run.choice, environment, tree).plan_again(tree.root).seeds:
            if one.key not in todo:
                continue
            ended = environment.report.timed("seed", f"{tree.root.name}/{one.key}")
            plant_within(Deadline.after(settings.wait_timeout or tree.root.settings.timeouts.up), one, around)
            ended()
            record["seeds"] = sorted({*record["seeds"], one.key})
            if one.key in files:
                record["seed_files"] = {**record.get("seed_files", {}), one.key: files[one.key]}
            environment.link.ask(Settled(tree.root.name, record))
    return todo


def _known(everything: dict[str, Known], service: str) -> Known:
    if service not in everything:
        raise HarnessError(f"service {service!r} is not up")
    return everything[service]
