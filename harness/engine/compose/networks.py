"""The networks of a stack: those that it makes, those that others have made, and which of its services join them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.engine.compose import subnets
from harness.engine.compose.override import Replaced

if TYPE_CHECKING:
    from harness.engine.identity import Identity
    from harness.engine.layout import Layout
    from harness.stack import Service, Stack, Tree

DEFAULT = "default"
ENVIRONMENT = "harness-environment"  # the key of the environment's network where a stack has a ``default`` of its own
_OF_NETWORKS = ("driver", "driver_opts", "enable_ipv4", "enable_ipv6", "ipam", "labels")
_ADDRESSES = frozenset(["ipv4_address", "ipv6_address", "link_local_ips", "mac_address"])


def networks_of(tree: Tree, stack: Stack, layout: Layout, identity: Identity) -> dict[str, Any]:
    """Return the networks of an override: those that a stack makes, and those that others have made."""
    assert layout.network is not None  # this engine has one
    environment = Replaced({"name": layout.network.name, "external": True})
    own = _has_own_default(stack)
    networks: dict[str, Any] = {ENVIRONMENT if own else DEFAULT: environment}
    for key, table in stack.networks.items():
        if (key == DEFAULT and not own) or table.get("external"):
            continue
        # Like volumes, but Compose joins a network that another project has made only as an external one.
        owner = maker_of(tree, stack, key)
        name = f"{identity.project(owner)}_{key}"
        if owner == stack.name:
            networks[key] = {"name": name, "labels": identity.labels_of("network", name, owner)}
        else:
            networks[key] = Replaced({"name": name, "external": True})
    return networks


def joined_by(stack: Stack, service: Service, layout: Layout) -> dict[str, Any]:
    """Return the networks of a service: those of its file, and that of the environment for ``default`` or beside it."""
    written = service.compose.get("networks") or {DEFAULT: None}
    shared = {}
    if layout.container_addresses:
        shared["ipv4_address"] = layout.host(stack.name, service)
    joined: dict[str, dict[str, Any]] = {key: dict(table or {}) for key, table in written.items()}
    if _has_own_default(stack) and DEFAULT in joined:
        joined[ENVIRONMENT] = shared | {k: v for k, v in joined[DEFAULT].items() if k == "aliases"}
    elif DEFAULT in joined:
        joined[DEFAULT] |= shared
    for options in joined.values():
        if name := service.compose.get("container_name"):  # others may reach it by that, as they do in Compose
            options["aliases"] = list(dict.fromkeys([*options.get("aliases", ()), name]))
    return {key: options or None for key, options in joined.items()}


def _has_own_default(stack: Stack) -> bool:
    """Return whether a file says of its network ``default`` what the environment's does not have."""
    said = stack.networks.get(DEFAULT) or {}
    tables = [(service.compose.get("networks") or {}).get(DEFAULT) or {} for service in stack.services]
    return any(said.get(key) for key in _OF_NETWORKS) or any(table.keys() & _ADDRESSES for table in tables)


def maker_of(tree: Tree, stack: Stack, network: str) -> str:
    """Return the stack that makes a network of a file: the lowest that has services on it."""
    return next((below.name for below in tree.below(stack.name) if makes(below, network)), stack.name)


def subnets_of(tree: Tree, stack: Stack) -> dict[str, tuple[str, ...]]:
    """Return what a file says of the subnets of those networks that this stack makes."""
    below = [other for other in tree.below(stack.name) if other.name != stack.name]
    tables = {
        key: subnets.of_table(table)
        for key, table in stack.networks.items()
        if makes(stack, key) and not table.get("external") and not any(makes(other, key) for other in below)
    }
    return {key: written for key, written in tables.items() if written}


def makes(stack: Stack, network: str) -> bool:
    """Return whether a stack declares a network and has services of its own on it, so that it makes it."""
    used = any(network in (service.compose.get("networks") or {}) for service in stack.services)
    return network in stack.networks and used and (network != DEFAULT or _has_own_default(stack))
