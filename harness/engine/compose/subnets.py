"""The subnets that a file gives its networks: whether an engine can have them beside each other and its own."""

from __future__ import annotations

import ipaddress
from itertools import combinations
from typing import TYPE_CHECKING, Any

from harness.errors import ConfigError
from harness.ownership.objects import RUN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network


def of_table(table: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the subnets in a network's table as they are written."""
    pools = (table.get("ipam") or {}).get("config") or ()
    return tuple(str(pool["subnet"]) for pool in pools if pool.get("subnet"))


def refused(file: Path, networks: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """Say which subnets (network -> those in its table) of a file are none, or overlap each other."""
    read: list[tuple[str, Subnet]] = []
    for name, written in networks.items():
        for text in written:
            try:
                read.append((name, ipaddress.ip_network(text, strict=False)))
            except ValueError as error:
                yield f"{file}: network {name!r}: ipam: subnet: {error}"
    for (name, subnet), (other, its) in combinations(read, 2):
        if _overlap(subnet, its):
            yield f"{file}: networks {name!r} and {other!r}: subnet {subnet} overlaps {its}; each needs its own"


def refuse_taken(networks: Mapping[str, Iterable[str]], there: Iterable[Mapping[str, Any]]) -> None:
    """Do nothing when an engine can make networks (name there -> subnets) beside those that it has.

    Args:
        networks: what is to be made; one of the same name that is there is meant.
        there: as the engine lists them ("List networks").

    Raises:
        ConfigError: a subnet overlaps that of another network, with its name and whose it is.
    """
    others = [(table, subnet) for table in there if table["Name"] not in networks for subnet in _subnets_of(table)]
    for name, written in networks.items():
        for text in written:
            subnet = ipaddress.ip_network(text, strict=False)
            for table, its in others:
                if _overlap(subnet, its):
                    raise ConfigError(
                        f"Subnet {subnet} of network {name} overlaps {its} of {table['Name']}{_owner(table)}, "
                        "which is on this engine",
                        hint="write another subnet, or none: the engine finds a free one then",
                    )


def _subnets_of(table: Mapping[str, Any]) -> Iterator[Subnet]:
    for pool in (table.get("IPAM") or {}).get("Config") or ():
        if pool.get("Subnet"):
            yield ipaddress.ip_network(pool["Subnet"], strict=False)


def _owner(table: Mapping[str, Any]) -> str:
    env = (table.get("Labels") or {}).get(RUN)
    return f" (environment {env}'s)" if env else ""


def _overlap(subnet: Subnet, other: Subnet) -> bool:
    return subnet.version == other.version and subnet.overlaps(other)
