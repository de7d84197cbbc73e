"""Whether a stack that is up is still what its files say, and where it differs: digests only, never values."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.engine import StackPlan
    from harness.engine.layout import Local
    from harness.stack import Stack

_LARGEST = 16 * 1024 * 1024  # bytes of a mounted file that are looked at
_SHORT = 12
_LOCAL, _LOCAL_BUILD = ": --local", ": --local-build"
_LOCALHOST = "addresses = localhost"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_SHORT]


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}{key}" if path.endswith(": ") else f"{path}.{key}")
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, _digest(json.dumps(value).encode())


def _without_ours(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key != "x-harness"}


def declared_mounts(stack: Stack, name: str) -> list[str]:
    """Return the paths on this machine that a service has mounted, or gets as a secret or config."""
    service = stack.service(name)
    if not service:
        return []
    granted = [
        (tables.get(grant["source"]) or {}).get("file")
        for key, tables in (("secrets", stack.secrets), ("configs", stack.configs))
        for grant in service.compose.get(key) or ()
    ]
    return [*(mount.source for mount in service.mounts if mount.kind == "bind"), *map(str, filter(None, granted))]


def parts_of(stack: Stack, plan: StackPlan, local: Local, *, localhost: bool = False) -> dict[str, str]:
    """Return key path -> digest for everything that decides how a stack runs: its files, and those that they mount.

    Addresses are no part of it, so that a plan which was made without any gives the same; but for ``localhost``.
    """
    declared = stack.model_dump(mode="json", by_alias=True)
    services = declared.pop("services")
    declared.pop("idle")  # nothing of them runs
    parts = dict(_leaves(declared, "stack"))
    for service in services:
        table = {key: value for key, value in service.items() if key not in ("name", "has_settings")}
        parts |= dict(_leaves(_without_ours(table.pop("compose")), f"service {service['name']}: "))
        parts |= dict(_leaves(table.pop("settings"), f"service {service['name']}: x-harness"))
        parts |= dict(_leaves(table.pop("profiles"), f"service {service['name']}: profiles"))
        for mount in declared_mounts(stack, service["name"]):
            source = Path(mount)
            with contextlib.suppress(OSError):  # one that cannot be read is the engine's to judge
                if source.is_file() and source.stat().st_size <= _LARGEST:
                    parts[f"service {service['name']}: file {source}"] = _digest(source.read_bytes())
    parts |= part_of_addresses(localhost=localhost)
    built = {service.name for service in stack.services if service.settings.local}
    for planned in plan.services:
        if planned.service in local.commands:
            words = "\0".join([str(Path.cwd()), *local.commands[planned.service]])
            parts[f"service {planned.service}{_LOCAL}"] = _digest(words.encode())
        elif local.build and planned.is_local and planned.service in built:
            parts[f"service {planned.service}{_LOCAL_BUILD}"] = _digest(str(local.build).encode())
    for container in plan.in_containers:
        parts[f"service {container.service}: image"] = _digest(container.image.encode())
    return parts


def fingerprint_of(parts: Mapping[str, str]) -> str:
    """Return one word for all parts of a stack."""
    return _digest(json.dumps(sorted(parts.items())).encode())


def part_of_addresses(*, localhost: bool) -> dict[str, str]:
    """Return the part that tells where the ports of a stack are."""
    return {_LOCALHOST: _digest(b"")} if localhost else {}


def is_on_localhost(parts: Mapping[str, str]) -> bool:
    """Return whether a stack with these parts has its ports on localhost."""
    return _LOCALHOST in parts


def started_otherwise(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return what an option says of how it runs now, and what runs otherwise, in words."""
    wanted = [path for path in now if path.endswith((_LOCAL, _LOCAL_BUILD, _LOCALHOST))]
    return [f"{path} is not how it runs" for path in wanted if before.get(path) != now[path]]


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return what differs, in words, without any value."""
    changed = {path: "changed" for path in before.keys() & now.keys() if before[path] != now[path]}
    changed |= dict.fromkeys(now.keys() - before.keys(), "is new")
    changed |= dict.fromkeys(before.keys() - now.keys(), "is gone")
    return [f"{path} {how}" for path, how in sorted(changed.items())]
