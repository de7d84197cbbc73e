"""How an engine keeps the logs of containers, where a file does not say it or says what the engine cannot do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.stack import Service

MAX_LOG = "64m"


@dataclass(frozen=True)
class LogDrivers:
    """The log drivers of one kind of engine.

    Attributes:
        driver: the one that is used where a file names none.
        options: its options.
        known: those that there are, nothing where a file may name any: an engine may have more by plug-ins.
    """

    driver: str
    options: Mapping[str, str]
    known: frozenset[str] = frozenset()

    def replacing(self, service: Service) -> dict[str, object] | None:
        """Return the section ``logging`` to use for a service, None for what its file says."""
        if "logging" not in service.compose or self._lacks(service) or _driver_of(service) == "none":
            return {"driver": self.driver, "options": dict(self.options)}
        return None

    def told(self, service: Service) -> Iterator[str]:
        """Say that a service's own driver is not to be had, or would keep nothing to tell of."""
        if _driver_of(service) == "none":
            yield f"service {service.name!r}: its log is kept for this run all the same (log driver 'none')"
        if lacking := self._lacks(service):
            yield f"service {service.name!r}: log driver {lacking!r} is not Podman's, {self.driver} is used instead"

    def _lacks(self, service: Service) -> str:
        driver = _driver_of(service)
        return driver if driver and self.known and driver not in self.known else ""


def _driver_of(service: Service) -> str:
    return str((service.compose.get("logging") or {}).get("driver") or "")


# The driver json-file would not keep bytes that are no UTF-8.
DOCKER = LogDrivers("local", {"max-size": MAX_LOG, "max-file": "2"})
# "--log-driver" in podman-create(1).
PODMAN = LogDrivers(
    "k8s-file",
    {"max-size": MAX_LOG},
    frozenset(["k8s-file", "json-file", "journald", "none", "passthrough", "passthrough-tty"]),
)
