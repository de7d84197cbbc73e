"""Events on standard output, as the test control protocol has them."""

from __future__ import annotations

import itertools
import json
import sys
from collections import defaultdict
from typing import Any

_numbers: dict[str, itertools.count[int]] = defaultdict(lambda: itertools.count(1))


def number(kind: str) -> int:
    """Return the next number of an endpoint, exchange, channel or packet."""
    return next(_numbers[kind])


def send(ty: str, **info: Any) -> None:
    """Write an event, at once."""
    sys.stdout.write(json.dumps({"id": number("event"), "ty": ty, "in": info}, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def tell(name: str, value: object) -> None:
    """Say what a value is, which all roles must see alike."""
    send("assert", assert_id=name, value=value)


def check(name: str, *, ok: bool, why: str) -> None:
    """Say whether something holds that this role alone can see."""
    send("check", check_id=name, ok=ok, why=why)
