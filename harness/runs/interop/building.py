"""What implementations of a matrix run from, made before any cell: images, or the setups of local processes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.errors import BrokenStack, ConfigError, nearest
from harness.runs.interop.making import make
from harness.runs.interop.running import declared
from harness.runs.run import Run, running

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.runs.choice import Choice


def build(choice: Choice, name: str, say: Callable[[str], None]) -> Mapping[str, str]:
    """Make what one implementation (with all of its versions) runs from, or all; return name -> id.

    Raises:
        ConfigError: something written is wrong, or there is no such implementation.
        BrokenStack: one could not be made.
    """
    of = declared(choice, say)
    every = of.matrix.implementations
    chosen = tuple(each for each in every if name in ("", each.name, each.name.partition("@")[0]))
    if not chosen:
        known = [each.name for each in every]
        raise ConfigError(f"Implementation {name!r} is not known; there are: {', '.join(known)}{nearest(name, known)}")
    run = Run(choice, say)
    with running(run):
        made = make(replace(of.matrix, implementations=chosen), (), run.open(), choice, say)
    if made.problems:
        wrong = [f"{who} could not be made: {why}" for who, why in made.problems.items()]
        raise BrokenStack(wrong[0], details=[f"  {line}" for line in wrong[1:]])
    return made.images
