"""The embedded engine: services as local processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.engine import keys
from harness.engine.layout import EMBEDDED, process_of
from harness.engine.local import plan_process, planned_seeds
from harness.engine.plan import StackPlan
from harness.errors import ConfigError

if TYPE_CHECKING:
    from harness.engine.layout import Layout
    from harness.stack import Tree

NAME = EMBEDDED


def plan_stack(tree: Tree, name: str, layout: Layout) -> StackPlan:
    """Return what the stack ``name`` of ``tree`` is as local processes.

    Raises:
        ConfigError: with everything in its file that cannot work on this engine.
    """
    stack = tree.stack(name)
    problems = list(keys.refused_beside(tree, stack, keys.PROCESS))
    notes = [*stack.notes, *keys.told_beside(tree, stack, keys.PROCESS)]
    services = []
    for service in stack.services:
        process = process_of(service, NAME, layout.local)
        if process is None:
            problems.append(
                f"Service {service.name!r} ({stack.files[0]}) has no x-harness.embedded, which this engine needs"
            )
            continue
        try:
            services.append(plan_process(tree, stack, service, process, layout, notes))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError.of(problems)
    return StackPlan(name, NAME, services=tuple(services), notes=tuple(notes), seeds=planned_seeds(tree, stack, layout))
