"""Which services of stacks are places where tests may leave something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.residue.stores import Place
from harness.stack import KAFKA_PORT, by_number

if TYPE_CHECKING:
    from harness.runs.stack import Service


def place_of(service: Service) -> Place | None:
    """Return a service as a place where tests may leave something, None when it is none."""
    if store := service.store:
        return Place(service.stack, service.name, store.login.kind, store)
    if end := by_number(service.endpoints).get(KAFKA_PORT):
        return Place(service.stack, service.name, "kafka", str(end))
    return None
