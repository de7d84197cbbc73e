"""Whether a Docker engine is on this machine: so that its published ports, containers and bind mounts are there too.

A unix socket is taken for that of an engine here, and an address that is not on loopback for one elsewhere. What
answers on loopback may be either (a tunnel, an engine in a container or in namespaces of its own): its networks tell,
since the bridge of a network that an engine here has made is an interface here, and bears that network's random id.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harness import procs, sockets
from harness.daemon import AUTO_BUDGET, PLAIN_PORT, TLS_PORT, Api, ask, query
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from harness.daemon import Daemon

_BRIDGE_NAME = "com.docker.network.bridge.name"
_DEFAULT = "bridge"  # the network that each engine has from its start


@functools.cache
def why_elsewhere(daemon: Daemon) -> str:
    """Return why an engine is taken to be on another machine, "" when it is on this one or does not answer."""
    scheme, _, _ = daemon.host.partition("://")
    if scheme == "unix":
        return ""
    if not _is_loopback(daemon):
        return "it is at no address of this machine's own"
    with suppress(HarnessError):
        if ask(daemon, within=AUTO_BUDGET).is_podman:  # which makes a bridge with the first container only
            return ""
        asked = query(filters={"driver": ["bridge"]})
        networks = Api(daemon, within=AUTO_BUDGET).request("GET", f"/networks?{asked}")
        names = {name for _, name in socket.if_nameindex()}
        return judge(networks, names, is_own_address) or _listens_elsewhere(daemon)
    return ""


def bridge_of(network: str) -> str:
    """Return the interface of a network that Docker has made, by its id."""
    return f"br-{network[:12]}"


def judge(networks: Sequence[Mapping[str, Any]], interfaces: Collection[str], is_ours: Any) -> str:  # noqa: ANN401
    """Return why the engine that has these networks is not on this machine, "" when it may be.

    Args:
        networks: bridges, as the Engine API tells them.
        interfaces: names of this machine's interfaces.
        is_ours: tells whether an address is this machine's.
    """
    made = [network for network in networks if network.get("Name") != _DEFAULT]
    named = {_name(network): network for network in made if not (network.get("Options") or {}).get(_BRIDGE_NAME)}
    if named.keys() & interfaces:
        return ""
    for name, network in named.items():
        return f"the bridge {name} of its network {network.get('Name')} is not here"
    for network in networks:
        if network.get("Name") == _DEFAULT:
            name, gateway = _name(network), _gateway(network)
            if name not in interfaces:
                return f"its bridge {name} is not here"
            if gateway and not is_ours(gateway):
                return f"its bridge {name} has {gateway}, which is no address of this machine"
    return ""


def is_own_address(address: str) -> bool:
    """Return whether this machine has an address."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _name(network: Mapping[str, Any]) -> str:
    return str((network.get("Options") or {}).get(_BRIDGE_NAME) or bridge_of(str(network.get("Id"))))


def _gateway(network: Mapping[str, Any]) -> str:
    """Return the gateway of a network; engines tell it of the default one only once it is used."""
    for pool in (network.get("IPAM") or {}).get("Config") or ():
        if pool.get("Gateway"):
            return str(pool["Gateway"])
        with suppress(ValueError):
            return str(ipaddress.ip_network(str(pool.get("Subnet")))[1])
    return ""


def _is_loopback(daemon: Daemon) -> bool:
    name = urlsplit(f"tcp://{daemon.host.partition('://')[2]}").hostname or ""
    with suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return name == "localhost"


def _listens_elsewhere(daemon: Daemon) -> str:
    """Return in words that who listens for an engine is in another network than this process; "" when not seen."""
    url = urlsplit(f"tcp://{daemon.host.partition('://')[2]}")
    port = url.port or (TLS_PORT if daemon.certificates else PLAIN_PORT)
    inodes = {listener.inode for listener in sockets.listeners() if listener.port == port}
    with suppress(OSError):
        here = Path("/proc/self/ns/net").readlink()
        for pid in procs.all_pids():
            if inodes & sockets.sockets_of([pid]) and Path(f"/proc/{pid}/ns/net").readlink() != here:
                return f"it is in another network namespace (pid {pid})"
    return ""
