"""How the services of one stack are asked whether they are usable: before they start, again, and after a failure."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.engine.driver import Addresses
from harness.readiness import start_again, start_check, start_probe
from harness.stack import Probe, broker_of, by_number, login_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from harness.engine.driver import Around, Host
    from harness.readiness import Asker, Target, Waited
    from harness.runs.planning import Planned

_NEEDS_A_HAND = ("log", "exec", "file", "healthy")  # probes that look into a service


class Probing:
    """The probes of one stack.

    Args:
        planned: the stack.
        around: what its services have around them.
        say: takes lines for the user.

    Attributes:
        logs: service -> its log, and the offset at which its present life begins there.
    """

    def __init__(self, planned: Planned, around: Around, say: Callable[[str], None]) -> None:
        self.planned = planned
        self.around = around
        self.logs: dict[str, tuple[Path, int]] = {}
        self._say = say
        self._targets: dict[str, Target] = {}
        self._early: dict[str, list[Asker]] = {}

    def host(self, name: str) -> Host:
        """Return what a service runs as."""
        plan = self.planned.plans[name]
        return self.planned.environment.driver_of(plan).host(plan, self.planned.service(name), self.around)

    def begin(self, name: str) -> None:
        """Make the probes of a service long before it starts, so that old data is told from new."""
        self._early[name] = self._start(name)

    def askers(self, name: str) -> list[Asker]:
        """Return the probes of a service that is about to start: those that were begun, or new ones."""
        return self._early.pop(name) if name in self._early else self._start(name)

    def _start(self, name: str) -> list[Asker]:
        target = self._targets[name] = self._target(name)
        return [start_probe(probe, index, target) for index, probe in self._probes(name, self._say)]

    def has_started(self, name: str, facts: Mapping[str, Any]) -> None:
        """Have log probes look from here on; what an earlier life of the service wrote does not count."""
        target = self._targets[name]
        target.log, target.log_start = self.logs[name] = Path(facts["log"]), facts["log_start"]

    def ask_later(self) -> None:
        """Have the environment know how the services of this stack are asked from now on."""
        planned = self.planned
        for name in planned.plans:
            planned.environment.askers[f"{planned.stack.name}/{name}"] = partial(self._askers_of, name, start_again)

    def checks_of(self, name: str) -> list[Asker]:
        """Return what tells whether a service of this stack, which was ready once, answers still, whatever it says."""
        return self._askers_of(name, start_check)

    def _askers_of(self, name: str, start: Callable[[Probe, int, Target], Asker | None]) -> list[Asker]:
        if self.planned.stack.service(name) is None or name in self.planned.oneshots:
            return []
        target = self._target(name)
        askers = [start(probe, index, target) for index, probe in self._probes(name, lambda _: None)]
        return [asker for asker in askers if asker]

    def seeded(self, name: str) -> Iterator[Asker]:
        """Give what asks for the topics and documents that probes of a service name and seeds make, one by one."""
        target = self._target(name)
        for index, probe in enumerate(self.planned.service(name).settings.ready):
            topics = self.planned.seeded_topics & set(probe.kafka.topics if probe.kafka else ())
            indices = self.planned.seeded_indices & set(probe.search.indices if probe.search else ())
            if topics or indices:
                yield start_probe(probe, index, target)

    def own_broker(self, name: str, waited: Waited) -> int | None:
        """Return the port of the broker that a probe asked, None when it asked none or another service's."""
        service, planned = self.planned.service(name), self.planned
        for probe in service.settings.ready:
            if probe.kafka and waited.probe.startswith("kafka"):
                owner, port = broker_of(probe.kafka.broker, service, planned.tree, planned.stack.name)
                return port if owner == name else None
        return None

    def _probes(self, name: str, say: Callable[[str], None]) -> list[tuple[int, Probe]]:
        """Return the probes to ask before the stack's seeds are planted."""
        service, plan = self.planned.service(name), self.planned.plans[name]
        probes: list[tuple[int, Probe]] = []
        for index, probe in enumerate(plan.ready):
            if not plan.ours and probe.kind in _NEEDS_A_HAND:
                say(f"service {name!r} is attached, so its probe {probe.kind!r} is left out")
                continue
            if probe.healthy and not plan.has_health:
                say(f"service {name!r}: no {plan.health_key}, so the probe 'healthy' is left out")
                continue
            if probe.kafka and probe.kafka.topics:
                rest = {topic: n for topic, n in probe.kafka.topics.items() if topic not in self.planned.seeded_topics}
                probes.append((index, Probe(kafka=probe.kafka.model_copy(update={"topics": rest}))))
            elif probe.search and probe.search.indices:
                there = {n: count for n, count in probe.search.indices.items() if n not in self.planned.seeded_indices}
                probes.append((index, Probe(search=probe.search.model_copy(update={"indices": there}))))
            else:
                probes.append((index, probe))
        if probes or name in self.planned.oneshots or self.planned.stack.waits:
            return probes
        if plan.has_health:
            return [(0, Probe(healthy=True))]
        ports = [port.left for port in service.ports if port.protocol == "tcp"]
        condition = f"its ports {', '.join(map(str, ports))} listen" if ports else "it runs"
        say(f"service {name!r} has no probe: it counts as ready when {condition}")
        return [(0, Probe(tcp=port)) for port in ports]

    def _target(self, name: str) -> Target:
        service, planned = self.planned.service(name), self.planned
        endpoints = by_number(planned.plans[name].endpoints)
        brokers = {
            index: planned.bootstrap(*broker_of(probe.kafka.broker, service, planned.tree, planned.stack.name))
            for index, probe in enumerate(service.settings.ready)
            if probe.kafka
        }
        own = {number: (end.host, end.port) for number, end in endpoints.items()}
        return replace(self.host(name).target(Addresses(own, brokers)), login=login_of(service))
