"""Which services of a stack that is up are made again because something of theirs changed, and no others.

``decide`` is pure: what was recorded, what would be now and what changed of the sources go in. It is carried out in
``convergence``, by the steps by which a stack comes up.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from harness.engine.fingerprint import differences
from harness.errors import ConfigError
from harness.stack import broker_of, store_of, uses_data

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from harness.engine import ServicePlan
    from harness.stack import Seed, Service, Stack, Tree

_OF_SERVICE = re.compile(r"service (?P<name>.+?): (?P<key>.*)", re.DOTALL)
# What other services know of it, or the environment is made by: then all is started anew.
_SHARED = re.compile(
    r"(ports|networks|network_mode|depends_on|links|hostname|container_name|profiles|deploy|scale|--local|--local-build"
    r"|x-harness\.(role|subject|fixed|allow))\b"
)
_IMAGE = "its image is another one now"


@dataclass(frozen=True)
class Replacement:
    """What is made again of a stack that is up.

    Attributes:
        reasons: service -> why; those that see one of these begin with "it depends on".
        names: all of them, in the order in which they start.
        seeds: keys of the seeds that are planted again, since what they had put in went with a service.
        doubted: lines about seeds of which that is not known.
        emptied: those of ``names`` whose data goes with them.
    """

    reasons: Mapping[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    seeds: tuple[str, ...] = ()
    doubted: tuple[str, ...] = ()
    emptied: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return what is told of it."""
        return [*(f"{name}: {self.reasons[name]}; it is replaced" for name in self.names), *self.doubted]


@dataclass(frozen=True)
class Seen:
    """What was found of a stack that is up.

    Attributes:
        before: what decided how it ran, as recorded.
        now: what would decide it now.
        sources: service -> which of its sources changed, in words.
        outdated: services whose images are others now.
        below: services of included stacks that were just replaced.
    """

    before: Mapping[str, str]
    now: Mapping[str, str]
    sources: Mapping[str, str] = field(default_factory=dict)
    outdated: Collection[str] = ()
    below: Collection[str] = ()


def beyond_services(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return what differs, in words, that is no single service's matter: for that a stack is started anew."""
    had, has = _services_in(before), _services_in(now)
    return [line for line in differences(before, now) if not _is_of_one(line, had & has)]


def _services_in(parts: Mapping[str, str]) -> set[str]:
    return {match["name"] for path in parts if (match := _OF_SERVICE.match(path))}


def _is_of_one(line: str, services: Collection[str]) -> bool:
    match = _OF_SERVICE.match(line)
    return match is not None and match["name"] in services and not _SHARED.match(match["key"])


def decide(tree: Tree, stack: Stack, plans: Mapping[str, ServicePlan], seen: Seen) -> Replacement:
    """Return what is made again of a stack; nothing where nothing changed.

    Args:
        tree: the stack with those that it includes.
        stack: which of them it is.
        plans: its services as they would be now.
        seen: what was found of it.
    """
    reasons: dict[str, str] = {}
    for line in differences(seen.before, seen.now):
        match = _OF_SERVICE.match(line)
        if match and match["name"] in plans:
            reasons.setdefault(match["name"], match["key"])
    reasons |= {name: how for name, how in seen.sources.items() if name in plans}  # these tell more
    reasons |= {name: _IMAGE for name in seen.outdated if name in plans and name not in reasons}
    order = _start_order(stack)
    for name in order:
        service = stack.service(name)
        if service and name not in reasons and (needed := _seen_by(service, {*reasons, *seen.below})):
            reasons[name] = f"it depends on {needed}, which is replaced"
    names = tuple(name for name in order if name in reasons)
    if not names:
        return Replacement()
    emptied = tuple(name for name in names if not keeps_data(_declared(stack, name), plans[name]))
    again, doubted = _seeds(tree, stack, len(plans), names, emptied)
    return Replacement(reasons, names, again, doubted, emptied)


def _start_order(stack: Stack) -> list[str]:
    names = {service.name for service in stack.services}
    try:
        return list(
            TopologicalSorter(
                {service.name: sorted(names & service.depends_on.keys()) for service in stack.services}
            ).static_order()
        )
    except CycleError:  # Compose refuses it
        return sorted(names)


def _seen_by(service: Service, replaced: Collection[str]) -> str:
    """Return the service whose replacement a service must see, "" for none: as Compose has it, ``restart: true``."""
    written = service.compose.get("depends_on") or {}
    tables = written.items() if isinstance(written, dict) else ()
    told = [name for name, table in tables if isinstance(table, dict) and table.get("restart")]
    mode = str(service.compose.get("network_mode") or "")
    told += [mode.removeprefix("service:")] if mode.startswith("service:") else []
    return next((name for name in told if name in replaced), "")


def keeps_data(service: Service, plan: ServicePlan) -> bool:
    """Return whether what a service was given outlives it: in a volume, a folder of this machine, or ``{data}``."""
    process = service.process or service.settings.local
    if plan.is_local and process and process.preset:
        return False  # its folder is laid down anew at each start
    if any(mount.kind == "volume" or not mount.read_only for mount in service.mounts):
        return True
    return plan.is_local and process is not None and uses_data(service, process)


def _seeds(
    tree: Tree, stack: Stack, services: int, names: Sequence[str], emptied: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the keys of the seeds that are planted again, and what is told of those of which that is not known."""
    again: list[str] = []
    doubted: list[str] = []
    for seed in stack.settings.seed if emptied else ():
        owner = _owner(seed, tree, stack)
        if owner in emptied and not (others := _stays(stack, owner, names)):
            again.append(seed.key)
        elif owner in emptied:
            doubted.append(_doubt(seed, f"it may be in {', '.join(others)}"))
        elif not owner and len(emptied) == services:
            again.append(seed.key)
        elif not owner and any(not _stays(stack, name, names) for name in emptied):
            doubted.append(_doubt(seed, "which service it is for is not known"))
    return tuple(again), tuple(doubted)


def _declared(stack: Stack, name: str) -> Service:
    service = stack.service(name)
    assert service is not None  # names come from this stack
    return service


def _stays(stack: Stack, name: str, replaced: Sequence[str]) -> list[str]:
    """Return what a service depends on and is not replaced: what it was given may be there."""
    return [other for other in _declared(stack, name).depends_on if other not in replaced]


def _doubt(seed: Seed, why: str) -> str:
    return f"seed {seed.key!r} is not planted again: {why}; `harness seed --fresh` plants all again"


def _owner(seed: Seed, tree: Tree, stack: Stack) -> str:
    """Return the service that a seed puts something into, "" where that cannot be told."""
    if seed.exec:
        return seed.exec.service
    if seed.http:
        return seed.http.service
    if seed.sql:
        return seed.sql.service
    with suppress(ConfigError):
        if seed.redis:
            return store_of("redis", seed.redis.service, tree, stack.name)[0]
        if seed.search:
            return store_of("search", seed.search.service, tree, stack.name)[0]
        if seed.topics is not None or seed.message:
            return broker_of(seed.message.broker if seed.message else None, None, tree, stack.name)[0]
    return ""
