"""What this checkout keeps up: who may change it, which environments, and what their keepers tell of their services."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.artifacts import private_folder
from harness.engine.known import Known
from harness.errors import ConfigError, nearest
from harness.keeper.client import HungKeeperError, KeeperLink
from harness.keeper.living import find_living
from harness.keeper.messages import Services
from harness.ownership.locks import holder_of, locked
from harness.procs import describe_exit
from harness.runs.changes import changed_services, seeds_told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from harness.config import Settings
    from harness.engine.plan import Endpoint
    from harness.keeper.messages import Event, Listed, StackFacts
    from harness.ownership.ledger import LedgerRecord
    from harness.ownership.locks import Holder

CHANGE_BUDGET = 2400.0  # another `up` of this checkout may be building, pulling and starting


@dataclass(frozen=True)
class ServiceLine:
    """One service of a kept environment, for a table.

    ``endpoints`` is ``SERVICE:PORT`` -> ``host:port``; ``changed`` which of its sources changed since it was started;
    ``failed`` why its stack did not settle, "" when it did.
    """

    environment: str
    engine: str
    stack: str
    service: str
    state: str
    health: str
    pid: int
    exit_code: int | None
    restarts: int
    container: str
    endpoints: dict[str, str]
    log: str
    changed: str = ""
    failed: str = ""

    def state_in_words(self) -> str:
        """Return its state with how it ended, and how healthy it is."""
        ended = "" if self.exit_code is None else f", {describe_exit(self.exit_code)}"
        return f"{self.state}{ended}{f' ({self.health})' if self.health else ''}"


def checkout_of(settings: Settings) -> str:
    """Return the real path of the project: kept environments belong to it."""
    return str(settings.root.resolve())


def checkout_lock(settings: Settings, work: str = "checkout") -> Path:
    """Return the lock that serialises ``up`` and ``down`` of one checkout, or another kind of ``work``."""
    return private_folder(settings.state) / _lock_name(settings, work)


def _lock_name(settings: Settings, work: str = "checkout") -> str:
    return f"{work}-{hashlib.sha256(checkout_of(settings).encode()).hexdigest()[:16]}.lock"


def changing(settings: Settings, purpose: str, say: Callable[[str], None]) -> AbstractContextManager[None]:
    """Hold the lock of what this checkout keeps, for as long as it is changed.

    Args:
        settings: whose; ``wait_timeout`` is how long another one is waited for.
        purpose: what is done to it: "brought up", "taken down"...
        say: told at once when another one is waited for.

    Raises:
        ConfigError: another one was not done in time.
    """
    timeout = settings.wait_timeout or CHANGE_BUDGET

    def waiting(holder: Holder) -> None:
        work = f" is being {holder.purpose}" if holder.purpose else " is being changed"
        say(f"what is up here{work} by {holder}; waiting for at most {timeout:g} s")

    return locked(checkout_lock(settings), timeout, everywhere=True, purpose=purpose, waiting=waiting)


def changer(settings: Settings) -> Holder | None:
    """Return who changes now what this checkout keeps, None when nobody does."""
    return holder_of(settings.state / _lock_name(settings), everywhere=True)


def kept_here(settings: Settings) -> list[LedgerRecord]:
    """Return the living kept environments of this checkout, on any engine."""
    return [record for record in find_living(settings.state, checkout_of(settings)) if record.kept]


def all_kept(settings: Settings) -> dict[str, LedgerRecord]:
    """Return the living kept environments of this checkout, by engine; the newest where one has several."""
    return {record.engine: record for record in kept_here(settings)}


def records_on_engine(settings: Settings) -> list[LedgerRecord]:
    """Return the kept environments of this checkout, on the engine that was asked for or on any."""
    return [record for record in kept_here(settings) if settings.engine in ("auto", record.engine)]


def services_of(record: LedgerRecord) -> Listed:
    """Return what a keeper tells of its ``services`` and ``stacks``. Raises BrokenStack when it does not."""
    with linked(record) as link:
        return link.ask(Services())


@contextmanager
def linked(record: LedgerRecord, on_event: Callable[[Event], None] = lambda _: None) -> Iterator[KeeperLink]:
    """Connect to a keeper without holding anything of it; ``on_event`` as a KeeperLink has it.

    Raises:
        HungKeeperError: it does not answer.
        BrokenStack: it is gone.
    """
    try:
        link = KeeperLink(record.socket, lease=False, on_event=on_event)
    except HungKeeperError as error:
        raise HungKeeperError(record.socket, error.pid or record.keeper.pid) from None
    try:
        yield link
    finally:
        link.close()


def records_here(settings: Settings) -> list[LedgerRecord]:
    """Return the kept environments of this checkout, at least one. Raises ConfigError when nothing is up."""
    records = records_on_engine(settings)
    if not records:
        raise ConfigError("Nothing is up here", hint="`harness up` starts the stack")
    return records


def record_in(stacks: Mapping[str, StackFacts], name: str) -> dict[str, Any]:
    """Return what its builder has said of a stack, {} when it is not there."""
    facts = stacks.get(name)
    return facts["record"] if facts else {}


def listed(settings: Settings) -> list[ServiceLine]:
    """Return the services of the kept environments of this checkout. Raises ConfigError when nothing is up."""
    lines = []
    for record in records_here(settings):
        answer = services_of(record)
        changed = {
            (service.stack, service.service): service.how
            for stack in answer["stacks"]
            for service in changed_services(Path(record.folder), stack, answer["services"], settings.root)
        }
        for facts in answer["services"]:
            record_of_stack = record_in(answer["stacks"], facts["stack"])
            table = record_of_stack.get("services", {}).get(facts["service"])
            known = Known.from_dict(table) if table else None
            lines.append(
                ServiceLine(
                    environment=record.env,
                    engine=record.engine,
                    stack=facts["stack"],
                    service=facts["service"],
                    state=facts["state"],
                    health=facts["health"],
                    pid=facts["pid"],
                    exit_code=facts["exit_code"],
                    restarts=facts["restarts"],
                    container=facts["container"],
                    endpoints=known.addresses() if known else {},
                    log=facts["log"],
                    failed=record_of_stack.get("failed", ""),
                    changed=changed.get((facts["stack"], facts["service"]), ""),
                )
            )
    return lines


def changed_seeds(settings: Settings) -> list[str]:
    """Return a line for each seed of what is up whose file changed after it was planted."""
    records = records_on_engine(settings)
    stacks = [facts["record"] or {} for record in records for facts in services_of(record)["stacks"].values()]
    return [line for stack in stacks for line in seeds_told(stack.get("seed_files", {}))]


def listed_or_none(settings: Settings) -> list[ServiceLine]:
    """Return the same, and nothing when nothing is up."""
    with suppress(ConfigError):
        return listed(settings)
    return []


def endpoints_in(record: LedgerRecord) -> dict[str, tuple[Endpoint, ...]]:
    """Return service -> its published ports, of all that is up in an environment."""
    tables = [
        table
        for facts in services_of(record)["stacks"].values()
        for table in (facts["record"] or {}).get("services", {}).values()
    ]
    return {known.service: known.endpoints for known in map(Known.from_dict, tables)}


def find_service(settings: Settings, service: str) -> tuple[LedgerRecord, Known]:
    """Return a service that is up by its name, or ``STACK/SERVICE``, and the environment that it is in.

    Raises:
        ConfigError: nothing is up, there is no such service, or there are several.
    """
    matches: list[tuple[LedgerRecord, Known]] = []
    names: list[str] = []
    for record in records_here(settings):
        for name, stack in services_of(record)["stacks"].items():
            for table in stack["record"].get("services", {}).values():
                known = Known.from_dict(table)
                if known.stack == name:
                    names.append(known.service)
                    if service in (known.service, f"{known.stack}/{known.service}"):
                        matches.append((record, known))
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ConfigError(
            f"Service {service!r} is up more than once: "
            + ", ".join(f"{known.stack}/{known.service} on {record.engine}" for record, known in matches),
            hint="give --service STACK/SERVICE, or --engine",
        )
    raise ConfigError(
        f"Service {service!r} is not up; there are: {', '.join(sorted(set(names))) or 'none'}{nearest(service, names)}"
    )
