"""The compose engine: services as containers, started by Docker Compose from the stack's own file and an override.

``plan_stack`` decides and touches nothing; what it decides is one generated Compose file (the override), the options
that name it, and what must be built or fetched first. The stack's own files are never changed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness.engine.addresses import endpoints, process_of, variables, visible_ports
from harness.engine.embedded import SUBJECT_GRACE, plan_process
from harness.engine.plan import ContainerPlan, Containers, Image, ServicePlan, StackPlan
from harness.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.engine.addresses import Layout
    from harness.stack import Service, Stack, Tree

NAME = "compose"
MAX_LOG = "64m"
PIDS = 4096
# Capabilities that Docker gives by default and that hardly any service of a test needs.
DROPPED = ("AUDIT_WRITE", "MKNOD", "NET_RAW", "SETFCAP", "SETPCAP", "SYS_CHROOT")
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
_SOCKETS = re.compile(r"/(docker|containerd|podman|crio)(/[\w.-]+)*\.sock$|/(docker|podman|containerd)\.sock$")
_DIND = re.compile(r"(^|/)(docker|docker-in-docker)(:[\w.-]*dind[\w.-]*)?$|dind")
_NAMESPACES = ("network_mode", "pid", "ipc", "uts", "userns_mode", "cgroup")


@dataclass(frozen=True)
class Identity:
    """Whose a stack's containers are.

    Attributes:
        checkout: real path of the project.
        env: the environment's id.
        labels: labels of everything that is made.
    """

    checkout: str
    env: str
    labels: Mapping[str, str]

    def project(self, stack: str) -> str:
        """Return the Compose project name of a stack."""
        slug = re.sub(r"[^a-z0-9]+", "-", Path(self.checkout).name.lower()).strip("-")[:20] or "project"
        run, stack = self.env.rpartition("-")[2], re.sub(r"[^a-z0-9_-]+", "-", stack.lower())
        return f"{slug}-{_digest(self.checkout)}-{run}-{stack}"

    def image(self, service: str) -> str:
        """Return the name of the image that this checkout builds for a service; another checkout has another."""
        return f"harness-build/{re.sub(r'[^a-z0-9]+', '-', service.lower())}:{_digest(self.checkout)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class _Override(yaml.SafeDumper):
    """Writes the tags with which Compose replaces or drops what a file says ("Merge" in its specification)."""


@dataclass(frozen=True)
class _Replaced:
    value: Any


class _Reset:
    pass


def _replaced(dumper: yaml.SafeDumper, data: _Replaced) -> yaml.Node:
    node = dumper.represent_data(data.value)
    node.tag = "!override"
    return node


_Override.add_representer(_Replaced, _replaced)
_Override.add_representer(_Reset, lambda dumper, _: dumper.represent_scalar("!reset", "null"))


def plan_stack(
    tree: Tree, name: str, layout: Layout, identity: Identity, images: Mapping[str, Image] | None = None
) -> StackPlan:
    """Return what the stack ``name`` of ``tree`` is as containers, and as local processes where a build is given.

    Args:
        tree: the stack and what it includes.
        name: which stack of it.
        layout: where things are.
        identity: whose they are.
        images: service -> what was decided about its image; those of the file by default.

    Raises:
        ConfigError: with everything in its file that this engine refuses.
    """
    stack = tree.stack(name)
    problems: list[str] = []
    notes: list[str] = []
    plans: list[ServicePlan] = []
    ports = visible_ports(tree, name, layout)
    environment = variables(ports)
    override: dict[str, Any] = {"services": {}, "networks": _networks(stack, layout, identity)}
    built = []
    for service in stack.services:
        process = process_of(service, NAME, layout.local_build)
        try:
            if process:
                plans.append(plan_process(tree, stack, service, process, layout, notes))
                continue
            problems += _refused(stack, service)
        except ConfigError as error:
            problems += [detail.strip() for detail in error.details] or [error.summary]
            continue
        notes += _rewritten(service)
        image = (images or {}).get(service.name) or Image(service.image, builds=bool(service.compose.get("build")))
        if image.builds:
            image = replace(image, name=identity.image(service.name))
            built.append(service.name)
        plans.append(_plan_container(stack, service, image, layout, environment))
        override["services"][service.name] = _service(tree, stack, service, layout, identity, image)
    if volumes := _volumes(tree, stack, identity):
        override["volumes"] = volumes
    problems += _external(stack)
    if problems:
        raise ConfigError.of(problems)
    project = identity.project(name)
    arguments = ["--project-name", project]
    for file in stack.files:
        arguments += ["--file", str(file)]
    arguments += ["--project-directory", str(stack.project_directory or stack.folder), "--profile", "*"]
    for file in stack.env_files:
        arguments += ["--env-file", str(file)]
    containers = Containers(
        project=project,
        arguments=tuple(arguments),
        override=yaml.dump(override, Dumper=_Override, sort_keys=False, width=200),
        build=tuple(built),
        env=environment,
    )
    return StackPlan(name, NAME, tuple(plans), tuple(notes), containers if override["services"] else None)


def _plan_container(
    stack: Stack, service: Service, image: Image, layout: Layout, environment: Mapping[str, str]
) -> ContainerPlan:
    grace = service.stop_grace
    if grace is None:
        grace = SUBJECT_GRACE if service.settings.subject else 0.0
    return ContainerPlan(
        stack=stack.name,
        service=service.name,
        env={**service.environment, **{key: environment[key] for key in service.environment if key in environment}},
        endpoints=endpoints(stack.name, service, layout),
        grace=min(grace, stack.settings.timeouts.down),
        image=image.name,
        healthcheck=service.has_healthcheck,
        health_off=bool(service.compose.get("healthcheck")) and not service.has_healthcheck,
        variable=image.variable,
    )


# -- the override ------------------------------------------------------------------------------------------------


def _service(
    tree: Tree,
    stack: Stack,
    service: Service,
    layout: Layout,
    identity: Identity,
    image: Image,
) -> dict[str, Any]:
    written = service.compose
    labels = {**identity.labels, "harness.stack": stack.name}
    made: dict[str, Any] = {"image": image.name, "labels": labels, "restart": "no"}
    if written.get("container_name"):
        made["container_name"] = _Reset()
    if written.get("build"):
        if image.builds:
            made["build"] = {"labels": {"harness.checkout": labels.get("harness.checkout", "")}}
            made["build"] |= {"args": dict(image.arguments)} if image.arguments else {}
        else:
            made["build"] = _Reset()
    made["pull_policy"] = "never"
    if written.get("ports"):
        made["ports"] = _Replaced([] if layout.container_addresses else _ports(stack, service, layout))
    if not written.get("network_mode"):
        made["networks"] = _Replaced(_joined(stack, service, layout))
    if "logging" not in written:
        made["logging"] = {"driver": "json-file", "options": {"max-size": MAX_LOG}}
    local = _local_hosts(tree, stack, layout)
    if local:
        made["extra_hosts"] = [f"{name}:{address}" for name, address in local.items()]
    if service.has_settings and not written.get("privileged"):
        made |= _restricted(written)
    return made


def _ports(stack: Stack, service: Service, layout: Layout) -> list[dict[str, Any]]:
    return [
        {"target": end.right, "published": str(end.port), "host_ip": end.host, "protocol": end.protocol}
        for end in endpoints(stack.name, service, layout)
    ]


def _joined(stack: Stack, service: Service, layout: Layout) -> dict[str, Any]:
    """Return the networks of a service: those of its file, of which ``default`` is the environment's."""
    joined: dict[str, Any] = {}
    for key, table in (service.compose.get("networks") or {"default": None}).items():
        options = {option: value for option, value in (table or {}).items() if option != "ipv4_address"}
        if key != "default":
            options = dict(table or {})
        elif layout.container_addresses:
            options["ipv4_address"] = layout.host(stack.name, service)
        joined[key] = options or None
    return joined


def _local_hosts(tree: Tree, stack: Stack, layout: Layout) -> dict[str, str]:
    """Return name -> address of the services around this stack that run as local processes."""
    if layout.local_build is None or layout.network is None:
        return {}
    above = [one for one in tree.stacks if any(below.name == stack.name for below in tree.below(one.name))]
    return {
        service.name: layout.network.gateway
        for one in (*tree.below(stack.name), *above)
        for service in one.services
        if process_of(service, NAME, layout.local_build)
    }


def _restricted(written: Mapping[str, Any]) -> dict[str, Any]:
    """Return least privilege for a service that says of itself, by x-harness, that it is made for this."""
    made: dict[str, Any] = {}
    if not any(str(one).startswith("no-new-privileges") for one in written.get("security_opt") or ()):
        made["security_opt"] = ["no-new-privileges:true"]
    added = {str(one).upper().removeprefix("CAP_") for one in written.get("cap_add") or ()}
    made["cap_drop"] = [one for one in DROPPED if one not in added and "ALL" not in added]
    limits = ((written.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    if not written.get("pids_limit") and not limits.get("pids"):
        made["pids_limit"] = PIDS
    return made


def _networks(stack: Stack, layout: Layout, identity: Identity) -> dict[str, Any]:
    assert layout.network is not None  # this engine has one
    made: dict[str, Any] = {"default": _Replaced({"name": layout.network.name, "external": True})}
    for key, table in stack.networks.items():
        if key != "default" and not table.get("external"):
            labels = {**identity.labels, "harness.stack": stack.name}
            made[key] = {"name": f"{identity.project(stack.name)}_{key}", "labels": labels}
    return made


def _volumes(tree: Tree, stack: Stack, identity: Identity) -> dict[str, Any]:
    """Return the named volumes: each belongs to the lowest stack that declares it, so that stacks share it."""
    made: dict[str, Any] = {}
    for key, table in stack.volumes.items():
        if table.get("external"):
            continue
        owner = next((one.name for one in tree.below(stack.name) if key in one.volumes), stack.name)
        labels = {**identity.labels, "harness.stack": owner}
        made[key] = {"name": f"{identity.project(owner)}_{key}", "labels": labels}
    return made


# -- what is rewritten, and what is refused ------------------------------------------------------------------------


def _rewritten(service: Service) -> Iterator[str]:
    """Say what the override takes back of a service's file."""
    written, who = service.compose, f"service {service.name!r}"
    if written.get("container_name"):
        yield f"{who}: container_name {written['container_name']!r} is left out, environments would meet under it"
    restart = written.get("restart")
    if restart and restart != "no":
        yield f"{who}: restart {restart!r} is left out, a service that dies is news"
    hosts = {str(port.get("host_ip", "")) for port in written.get("ports") or ()}
    if foreign := sorted(host for host in hosts if host and not host.startswith("127.")):
        yield f"{who}: ports are published on loopback only, not on {', '.join(foreign)}"


def _refused(stack: Stack, service: Service) -> Iterator[str]:
    """Say what a service has that is refused unless its ``x-harness.allow`` names it."""
    for permission, what in _dangerous(service):
        if permission not in service.settings.allow:
            yield (
                f"{stack.files[0]}: service {service.name!r}: {what} is refused; "
                f"if it must be, write x-harness: {{allow: [{permission}]}}"
            )


def _dangerous(service: Service) -> Iterator[tuple[str, str]]:
    written = service.compose
    if written.get("privileged"):
        yield "privileged", "privileged: true"
    added = {str(one).upper().removeprefix("CAP_") for one in written.get("cap_add") or ()} - DEFAULT_CAPABILITIES
    if added:
        yield "cap_add", f"cap_add {', '.join(sorted(added))}"
    for key in _NAMESPACES:
        if written.get(key) == "host":
            yield "host-namespace", f"{key}: host"
    for mount in service.mounts:
        if mount.kind == "bind" and _SOCKETS.search(mount.source):
            yield "engine-socket", f"mounting {mount.source}"
        if mount.kind == "bind" and mount.source == "/":
            yield "root-filesystem", "mounting / of this machine"
    if _DIND.search(service.image):
        yield "docker-in-docker", f"image {service.image!r}, a container engine,"


def _external(stack: Stack) -> Iterator[str]:
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
