"""The shards of one plan are divided alike, though what is known of its cells grows from one to the next."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.errors import ConfigError
from harness.matrix.shards import Shard
from harness.runs.interop.resuming import PLAN, planned

if TYPE_CHECKING:
    from pathlib import Path

    from harness.matrix.planning import Plan


def divided(plan: Plan, shard: Shard, logs: Path) -> Plan:
    """Return the part of a plan that a shard is.

    Where another shard of the same plan was run here before, cells are divided by what was expected of them then.

    Args:
        plan: the whole one.
        shard: which part of it.
        logs: where runs are.
    """
    seconds = plan.seconds
    if shard.count > 1:
        for path in sorted(logs.glob(f"*/{PLAN}"), reverse=True):
            if not path.parent.is_symlink() and _head_of(path) == (plan.hash, shard.count):
                with suppress(ConfigError):
                    seconds = planned(path.parent).seconds
                    break
    return replace(plan, seconds=seconds, shard=shard)


def _head_of(path: Path) -> tuple[str, int]:
    """Return the hash of a plan and of how many shards it is one, by its first line alone; ``("", 0)`` for none."""
    with suppress(OSError, ValueError, LookupError, TypeError, ConfigError):
        with path.open(encoding="utf-8") as file:
            head = json.loads(f"{file.readline().rstrip()}]}}")
        return str(head["hash"]), Shard.parse(head["shard"]).count
    return "", 0
