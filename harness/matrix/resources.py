"""What a cell takes of the machine while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Resources:
    """What a cell takes while it runs.

    Attributes:
        cpu: cores.
        memory: bytes, 0 for what is not known.
        exclusive: tokens that only one running cell may have at a time.
    """

    cpu: float = 0.5
    memory: int = 0
    exclusive: tuple[str, ...] = ()
