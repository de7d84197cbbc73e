"""What a stack may not have in containers unless it says so, and what is taken back without asking.

Dangers are a table: what a service has, and the permission (``x-harness.allow``) without which it is refused. The list
is that of things which give a container power over this machine, its engine, or what belongs to others.
"""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.stack import Service, Stack

# What Docker gives by default ("Runtime privilege and Linux capabilities" in its manual): adding these is no harm.
DEFAULT_CAPABILITIES = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)
_SOCKET = re.compile(r"/(docker|containerd|podman|crio|buildkitd)(/[\w.-]+)*\.sock$")
# Where engines have their sockets by default: a folder above one holds it too.
_SOCKETS = (
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
    f"/run/user/{os.getuid()}/docker.sock",
    f"/run/user/{os.getuid()}/podman/podman.sock",
)
_WHOLE_MACHINE = ("/", "/boot", "/dev", "/etc", "/proc", "/sys")
_DIND = re.compile(r"(^|/)(docker|docker-in-docker)(:[\w.-]*dind[\w.-]*)?$|dind")
_LOCALHOST = re.compile(r"\b(?:localhost|127\.0\.0\.1):(?P<port>\d{1,5})\b")
_NAMESPACES = ("network_mode", "pid", "ipc", "uts", "userns_mode", "cgroup")


def rewritten(service: Service) -> Iterator[str]:
    """Say what the override takes back of a service's file."""
    written, who = service.compose, f"service {service.name!r}"
    if replicas(written) > 1:
        yield f"{who}: one container is started instead of {replicas(written)}, they would share its address"
    hosts = {str(port.get("host_ip", "")) for port in written.get("ports") or ()}
    if foreign := sorted(host for host in hosts if host and not host.startswith("127.")):
        yield f"{who}: ports are published on loopback only, not on {', '.join(foreign)}"


def misled(stack: Stack, service: Service) -> Iterator[str]:
    """Say which variables send clients to ``localhost`` and a published port, where nothing of an environment is.

    A service may mean itself by that, if it is its own port; what it advertises to others it does not.
    """
    own = {port.right for port in service.ports}
    owners = {port.left: other.name for other in stack.services for port in other.ports if port.left}
    for name, value in service.environment.items():
        for match in _LOCALHOST.finditer(value):
            port = int(match["port"])
            owner = owners.get(port)
            if owner is None or (port in own and "ADVERTISED" not in name.upper()):
                continue
            variable = "".join(char if char.isalnum() else "_" for char in owner.upper())
            if _mentions(stack, f"HARNESS_PORT_{variable}_{port}"):
                continue  # what was read is its default
            yield (
                f"service {service.name!r}: {name} names {match[0]}, where {owner!r} is not: write "
                f"${{HARNESS_HOST_{variable}:-localhost}}:${{HARNESS_PORT_{variable}_{port}:-{port}}}"
            )


def _mentions(stack: Stack, variable: str) -> bool:
    """Return whether a stack's files name a variable."""
    return any(variable in file.read_text(encoding="utf-8", errors="replace") for file in stack.files)


def replicas(written: Mapping[str, Any]) -> int:
    """Return how many containers a service's table asks for."""
    return int(written.get("scale") or (written.get("deploy") or {}).get("replicas") or 1)


def refused(stack: Stack, service: Service) -> Iterator[str]:
    """Say what a service has that is refused unless its ``x-harness.allow`` names it."""
    for permission, danger in _dangers(stack, service):
        if permission not in service.settings.allow:
            yield (
                f"{stack.files[0]}: service {service.name!r}: {danger} is refused; "
                f"if it must be, write x-harness: {{allow: [{permission}]}}"
            )


def external(stack: Stack) -> Iterator[str]:
    """Say which volumes and networks of other owners the stack's own services use, unless one of them allows it."""
    allowed = any("external" in service.settings.allow for service in stack.services)
    for kind, tables in (("volume", stack.volumes), ("network", stack.networks)):
        for key, table in tables.items():
            if table.get("external") and not allowed:
                name = table.get("name", key)
                yield (
                    f"{stack.files[0]}: {kind} {name!r} is external, not ours to use or to keep clean; it is refused. "
                    "If it must be, write x-harness: {allow: [external]} at a service that uses it"
                )


def internal(stack: Stack) -> Iterator[str]:
    """Say that the network which all services share cannot be cut off: the engine would publish no port of theirs."""
    if (stack.networks.get("default") or {}).get("internal"):
        yield (
            f"{stack.files[0]}: network 'default' is internal, so no port of its services could be reached. "
            "Make it one of another name, and have those services join `default` too that are to be reached"
        )


def _dangers(stack: Stack, service: Service) -> Iterator[tuple[str, str]]:
    written = service.compose
    yield from _powers(written)
    for key in _NAMESPACES:
        value = str(written.get(key, ""))
        if value == "host":
            yield "host-namespace", f"{key}: host"
        if value.startswith("container:"):
            yield "external", f"{key}: {value}"
    for source in written.get("volumes_from") or ():
        if str(source).startswith("container:"):
            yield "external", f"volumes_from: {source}"
    if written.get("external_links"):
        yield "external", f"external_links {', '.join(map(str, written['external_links']))}"
    if written.get("use_api_socket"):
        yield "engine-socket", "use_api_socket: true"
    for written_path in _paths(stack, service):
        path = os.path.realpath(written_path)  # Compose leaves //, /. and links as they are written
        if path in _WHOLE_MACHINE:
            yield "root-filesystem", f"mounting {written_path} of this machine"
        elif _holds_socket(path):
            yield "engine-socket", f"mounting {written_path}"
    if _DIND.search(service.image):
        yield "docker-in-docker", f"image {service.image!r}, a container engine,"


def _powers(written: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Find what gives a container, its hooks or its build power over this machine."""
    build = written.get("build") or {}
    hooks = [hook for key in ("post_start", "pre_stop") for hook in written.get(key) or ()]
    if written.get("privileged"):
        yield "privileged", "privileged: true"
    if any(hook.get("privileged") for hook in hooks):
        yield "privileged", "a hook with privileged: true"
    if build.get("privileged") or build.get("entitlements"):
        yield "privileged", "a build with privileges"
    if build.get("network") == "host":
        yield "host-namespace", "build: {network: host}"
    for key in ("devices", "device_cgroup_rules", "cgroup_parent", "provider"):
        if written.get(key):
            yield "privileged", key
    unconfined = [str(option) for option in written.get("security_opt") or () if str(option).endswith("unconfined")]
    if unconfined:
        yield "privileged", f"security_opt {', '.join(unconfined)}"
    added = {str(name).upper().removeprefix("CAP_") for name in written.get("cap_add") or ()} - DEFAULT_CAPABILITIES
    if added:
        yield "cap_add", f"cap_add {', '.join(sorted(added))}"


def _paths(stack: Stack, service: Service) -> Iterator[str]:
    """Return the paths of this machine that a service gets to see, by whatever key."""
    for mount in service.mounts:
        if mount.kind == "bind":
            yield mount.source
        elif mount.kind == "volume" and (device := _device(stack.volumes.get(mount.source))):
            yield device
    for key, tables in (("configs", stack.configs), ("secrets", stack.secrets)):
        for entry in service.compose.get(key) or ():
            name = entry.get("source", "") if isinstance(entry, dict) else str(entry)
            if file := (tables.get(name) or {}).get("file"):
                yield str(file)


def _device(volume: Mapping[str, Any] | None) -> str:
    """Return the path that a volume of the local driver binds, "" when it binds none."""
    options = (volume or {}).get("driver_opts") or {}
    return str(options.get("device", "")) if "bind" in str(options.get("o", "")) else ""


def _holds_socket(path: str) -> bool:
    plain = path.replace("/var/run", "/run", 1) if path.startswith("/var/run") else path
    above = any(PurePosixPath(socket).is_relative_to(plain) for socket in _SOCKETS) or plain == "/var"
    return bool(_SOCKET.search(path)) or above
