"""The compose engine: services as containers, started by Docker Compose from the stack's own file and an override.

``plan_stack`` decides and touches nothing; what it decides is one generated Compose file (the override), the options
that name it, and what must be built or fetched first. The stack's own files are never changed.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from harness.engine import keys
from harness.engine.compose import bases, lint, log_drivers, subnets
from harness.engine.compose.bases import added_keys, build_arguments, built_names, image_of, recipes_of, with_added
from harness.engine.compose.copies import Copies, copies_of
from harness.engine.compose.networks import joined_by, networks_of, subnets_of
from harness.engine.compose.override import Replaced, Reset, write
from harness.engine.compose.waiting import made_later, waiting
from harness.engine.layout import endpoints, moved_ports, process_of, variables, visible_ports
from harness.engine.local import grace_of, names_inside, plan_process, planned_seeds
from harness.engine.mounts import folders_to_make, missing_sources
from harness.engine.plan import ContainerPlan, Containers, Image, ServicePlan, StackPlan
from harness.engine.proxies import exceptions
from harness.errors import ConfigError
from harness.images import familiar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.engine.compose.log_drivers import LogDrivers
    from harness.engine.identity import Identity
    from harness.engine.layout import Layout
    from harness.keeper.messages import Hook, Hooks
    from harness.stack import Probe, Service, Stack, Tree

T = TypeVar("T")
NAME = bases.NAME
PIDS = 4096
HOOKS = ("post_start", "pre_stop")
# Capabilities that Docker gives by default and that hardly any service of a test needs.
DROPPED = ("AUDIT_WRITE", "MKNOD", "NET_RAW", "SETFCAP", "SETPCAP", "SYS_CHROOT")
# Keys of a service that are wholly in its container once that is created, or are seen to by the keeper. With any other
# one Compose starts it: some do more at its start (``configs`` and ``secrets`` that are written into it), new ones may.
# fmt: off
_CREATED = frozenset([
    "annotations", "attach", "blkio_config", "build", "cap_add", "cap_drop", "cgroup_parent", "command",
    "container_name", "cpu_count", "cpu_percent", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime",
    "cpu_shares", "cpus", "cpuset", "depends_on", "deploy", "device_cgroup_rules", "devices", "dns", "dns_opt",
    "dns_search", "domainname", "entrypoint", "environment", "expose", "extra_hosts", "group_add", "healthcheck",
    "hostname", "image", "init", "ipc", "isolation", "labels", "logging", "mac_address", "mem_limit",
    "mem_reservation", "mem_swappiness", "memswap_limit", "network_mode", "networks", "oom_kill_disable",
    "oom_score_adj", "pid", "pids_limit", "platform", "ports", "post_start", "pre_stop", "privileged", "profiles",
    "pull_policy", "read_only", "restart", "runtime", "scale", "security_opt", "shm_size", "stdin_open",
    "stop_grace_period", "stop_signal",
    "storage_opt", "sysctls", "tmpfs", "tty", "ulimits", "user", "userns_mode", "uts", "volumes", "working_dir",
])
# fmt: on


def plan_stack(
    tree: Tree,
    name: str,
    layout: Layout,
    identity: Identity,
    images: Mapping[str, Image] | None = None,
    logs: LogDrivers = log_drivers.DOCKER,
) -> StackPlan:
    """Return what the stack ``name`` of ``tree`` is as containers, and as local processes where a build is given.

    Args:
        tree: the stack and what it includes.
        name: which stack of it.
        layout: where things are.
        identity: whose they are.
        images: service -> what was decided about its image; those of the file by default.
        logs: how the engine can keep logs.

    Raises:
        ConfigError: with everything in its file that this engine refuses.
    """
    draft = _Draft(tree, tree.stack(name), layout, identity, images)
    for service in draft.stack.services:
        draft.add(service)
    return draft.finish(logs)


class _Draft:
    """A plan that is being made: what becomes of each service, and all that is wrong in its file."""

    def __init__(
        self, tree: Tree, stack: Stack, layout: Layout, identity: Identity, images: Mapping[str, Image] | None
    ) -> None:
        self.stack = stack
        self._tree, self._layout, self._identity, self._images = tree, layout, identity, images
        self._problems: list[str] = []
        self._notes = [*stack.notes, *keys.told_beside(tree, stack, keys.CONTAINER)]
        self._plans: list[ServicePlan] = []
        self._environment = variables(visible_ports(tree, stack.name, layout))
        self._services: dict[str, dict[str, Any]] = {}  # of the override
        self._ours = built_names(tree, stack, images, layout, identity)
        self._built: list[str] = []

    def add(self, service: Service) -> None:
        """Plan a service as a local process, where it is given as one, or as a container."""
        try:
            if process := process_of(service, NAME, self._layout.local):
                plan = plan_process(self._tree, self.stack, service, process, self._layout, self._notes)
                self._plans.append(plan)
            else:
                self._add_container(service)
        except ConfigError as error:
            self._problems += error.problems

    def _add_container(self, service: Service) -> None:
        """Plan a container. Raises ConfigError with what cannot be in its probes or ports."""
        stack, layout = self.stack, self._layout
        refused = keys.refused(service.name, service.compose, keys.CONTAINER)
        self._problems += [f"{stack.files[0]}: {why}" for why in refused]
        self._problems += _unreachable(self._tree, stack, service)
        self._problems += list(lint.refused(stack, service)) or missing_sources(self._tree, stack, service)
        ready = _probes(stack, service, layout)
        if not layout.container_addresses:  # else nothing is published
            who = f"Service {service.name!r} ({stack.files[0]})"
            self._problems += moved_ports(who, service, layout, self._notes)
        self._notes += [
            *lint.rewritten(service),
            *lint.misled(stack, service),
            *keys.told(service.name, service.compose, keys.CONTAINER),
        ]
        image = self._image_of(service)
        plan = _plan_container(stack, service, image, layout, self._environment)
        self._plans.append(replace(plan, ready=ready))
        written = _service(self._tree, stack, service, layout, self._identity, image)
        self._services[service.name] = written | (waiting(service) if stack.waits else {})

    def _image_of(self, service: Service) -> Image:
        """Return what a service runs, by the name that it has here; note it where it is built."""
        image = image_of(service, self._images)
        if image.builds:
            self._built.append(service.name)
            return replace(image, name=self._identity.image(self.stack.name, service.name))
        if image.name == service.image and not service.compose.get("build"):
            return replace(image, name=self._ours.get(familiar(image.name), image.name))
        return image

    def finish(self, logs: LogDrivers) -> StackPlan:
        """Return the plan. Raises ConfigError with everything that is wrong."""
        tree, stack, layout, identity = self._tree, self.stack, self._layout, self._identity
        problems, services = self._problems, self._services
        override: dict[str, Any] = {"services": services, "networks": networks_of(tree, stack, layout, identity)}
        if layout.elsewhere:
            self._plans = [_filled(stack, plan, services, problems, self._notes) for plan in self._plans]
            problems += made_later(tree, stack)
        if volumes := _volumes(tree, stack, identity):
            override["volumes"] = volumes
        self._notes += _keep_logs(stack, services, logs)
        written_subnets = subnets_of(tree, stack)
        problems += [*keys.refused_beside(tree, stack, keys.CONTAINER), *lint.external(stack), *lint.internal(stack)]
        problems += subnets.refused(stack.files[0], written_subnets)
        recipes = _tried(lambda: recipes_of(tree, stack, self._built, self._images, layout, identity), problems) or {}
        seeds = _tried(lambda: planned_seeds(tree, stack, layout), problems) or ()
        if problems:
            raise ConfigError.of(problems)
        project = identity.project(stack.name)
        containers = Containers(
            project=project,
            arguments=_arguments(stack, project),
            override=write(override),
            build=tuple(self._built),
            recipes=recipes,
            env={**self._environment, **build_arguments(recipes, self._images)},
            free=frozenset(name for name in services if _is_free(stack, name)),
            subnets={f"{project}_{key}": written for key, written in written_subnets.items()},
        )
        plans, notes = tuple(self._plans), tuple(self._notes)
        return StackPlan(stack.name, NAME, plans, notes, containers if services else None, seeds)


def _arguments(stack: Stack, project: str) -> tuple[str, ...]:
    """Return the options of Compose that name a stack's own files."""
    files = [word for file in stack.files for word in ("--file", str(file))]
    env_files = [word for file in stack.env_files for word in ("--env-file", str(file))]
    folder = str(stack.project_directory or stack.folder)
    return ("--project-name", project, *files, "--project-directory", folder, "--profile", "*", *env_files)


def _tried(make: Callable[[], T], problems: list[str]) -> T | None:
    """Return what is made, or None after adding why it cannot be."""
    try:
        return make()
    except ConfigError as error:
        problems += error.problems
        return None


def _is_free(stack: Stack, name: str) -> bool:
    """Return whether a service can be started without Compose once its container is created."""
    service = stack.service(name)
    assert service is not None  # names come from this stack
    granted = (("secrets", stack.secrets), ("configs", stack.configs))
    grants = [
        (tables.get(str(grant["source"])) or {}) for k, tables in granted for grant in service.compose.get(k) or ()
    ]
    # Those of a file are mounted; Compose writes others into the container before it starts it.
    return service.compose.keys() - {"secrets", "configs"} <= _CREATED and all(table.get("file") for table in grants)


def _probes(stack: Stack, service: Service, layout: Layout) -> tuple[Probe, ...]:
    """Return the probes of a container as they are asked. Raises ConfigError with what cannot be in them."""
    names = names_inside(service, layout)
    try:
        return tuple(names.probe(probe) for probe in service.settings.ready)
    except ConfigError as error:
        raise ConfigError(f"{error.summary} ({stack.files[0]})") from error


def _plan_container(
    stack: Stack, service: Service, image: Image, layout: Layout, environment: Mapping[str, str]
) -> ContainerPlan:
    return ContainerPlan(
        stack=stack.name,
        service=service.name,
        env={
            **service.environment,
            **{key: environment[key] for key in service.environment if key in environment},
            **service.given,
        },
        endpoints=endpoints(stack.name, service, layout),
        grace=grace_of(stack, service),
        image=image.name,
        healthcheck=service.has_healthcheck,
        health_off=stack.waits or (bool(service.compose.get("healthcheck")) and not service.has_healthcheck),
        variable=image.variable,
        strategy=image.strategy,
        commit=image.commit,
        about=image.about,
        log_file=layout.log_file(stack.name, service.name) if service.settings.log_file else None,
        folders=folders_to_make(service),
        is_pulled=service.compose.get("pull_policy") != "never",
        hooks=_hooks(service),
    )


def _hooks(service: Service) -> Hooks | None:
    """Return the hooks of a service, which the keeper runs: Compose would only at the starts and ends that are its."""
    after, before = (service.compose.get(key) or () for key in HOOKS)
    if not after and not before:
        return None
    return {"post_start": [_hook(hook) for hook in after], "pre_stop": [_hook(hook) for hook in before]}


def _hook(written: Mapping[str, Any]) -> Hook:
    environment = written.get("environment") or {}
    return {
        "command": list(written.get("command") or ()),
        "environment": [f"{name}={value}" for name, value in environment.items() if value is not None],
        "user": str(written.get("user") or ""),
        "working_dir": str(written.get("working_dir") or ""),
        "privileged": bool(written.get("privileged")),
    }


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
    labels = identity.labels_of("container", identity.container(stack.name, service.name), stack.name)
    override: dict[str, Any] = {"image": image.name, "labels": labels, "restart": "no"}
    if written.get("container_name"):
        override["container_name"] = Reset()
    if written.get("build"):
        if image.builds:
            added = added_keys(image, labels, identity, image.name)
            of_table = service.source is not None and bool(service.source.section)
            override["build"] = Replaced(with_added(written["build"], added)) if of_table else added
        else:
            override["build"] = Reset()
    override["pull_policy"] = "never"
    if added := {**exceptions(service.environment, tree.visible(stack.name)), **service.given}:
        override["environment"] = added
    # A service that Compose starts has its first ones run by that.
    ours = HOOKS if _is_free(stack, service.name) else HOOKS[1:]
    override |= {key: Reset() for key in ours if written.get(key)}
    override |= _one_that_stays_down(written)
    if written.get("ports"):
        override["ports"] = Replaced([] if layout.container_addresses else _ports(stack, service, layout))
    if not written.get("network_mode"):
        override["networks"] = Replaced(joined_by(stack, service, layout))
    if volumes := _rewritten_mounts(stack, service, layout):
        override["volumes"] = volumes
    local = _local_hosts(tree, stack, layout)
    if local:
        override["extra_hosts"] = [f"{name}:{address}" for name, address in local.items()]
    if service.has_settings and not written.get("privileged"):
        override |= _restricted(written)
    return override


def _filled(
    stack: Stack, plan: ServicePlan, services: dict[str, dict[str, Any]], problems: list[str], notes: list[str]
) -> ServicePlan:
    """Return a plan with copies of the files that its engine does not see, and take them back in the override."""
    service = stack.service(plan.service)
    if service is None or not isinstance(plan, ContainerPlan):
        return plan
    copies = copies_of(stack, service)
    problems += copies.problems
    notes += copies.notes
    services[plan.service] |= _without_files(service, copies)
    return replace(plan, copied=copies.files, log_file=None, folders=())


def _without_files(service: Service, copies: Copies) -> dict[str, Any]:
    """Return what takes back the files of this machine, where copies take their place, and what nobody could reach."""
    taken: dict[str, Any] = {key: Replaced([dict(grant) for grant in left]) for key, left in copies.grants.items()}
    if service.compose.get("volumes") or service.settings.log_file:
        taken["volumes"] = Replaced([dict(mount) for mount in copies.mounts])
    return taken | ({"ports": Replaced([])} if service.compose.get("ports") else {})


def _keep_logs(stack: Stack, services: Mapping[str, dict[str, Any]], logs: LogDrivers) -> list[str]:
    """Add to the services of an override how their logs are kept; return what is to be said of it."""
    notes: list[str] = []
    for service in stack.services:
        if service.name in services and (logging := logs.replacing(service)):
            services[service.name]["logging"] = Replaced(logging) if "logging" in service.compose else logging
            notes += logs.told(service)
    return notes


def _rewritten_mounts(stack: Stack, service: Service, layout: Layout) -> list[dict[str, Any]]:
    """Return the mount of a log file, and those whose source has a colon, so that no source of theirs is made.

    To have it made, Compose writes a mount as SOURCE:TARGET, which an engine then parts at the wrong place. And an
    engine that does not see our folder would make a folder where the log is to be.
    """
    written = [dict(mount) for mount in service.compose.get("volumes") or () if mount.get("type") == "bind"]
    if service.settings.log_file:
        source = str(layout.log_file(stack.name, service.name))
        written.append({"type": "bind", "source": source, "target": service.settings.log_file})
    options = {"create_host_path": False}
    log_file = service.settings.log_file
    return [
        {**mount, "bind": {**(mount.get("bind") or {}), **options}}
        for mount in written
        if ":" in mount["source"] or mount["target"] == log_file
    ]


def _one_that_stays_down(written: Mapping[str, Any]) -> dict[str, Any]:
    """Return what takes back more containers than one, and restarts by way of ``deploy``."""
    deploy = written.get("deploy") or {}
    taken: dict[str, Any] = {"restart_policy": Reset()} if deploy.get("restart_policy") else {}
    taken |= {"replicas": 1} if "replicas" in deploy else {}
    return ({"deploy": taken} if taken else {}) | ({"scale": 1} if "scale" in written else {})


def _ports(stack: Stack, service: Service, layout: Layout) -> list[dict[str, Any]]:
    return [
        {"target": end.right, "published": str(end.port), "host_ip": end.host, "protocol": end.protocol}
        for end in endpoints(stack.name, service, layout)
    ]


def _local_hosts(tree: Tree, stack: Stack, layout: Layout) -> dict[str, str]:
    """Return name -> address of the services around this stack that run as local processes, and can be reached."""
    if layout.network is None:
        return {}
    above = [around for around in tree.stacks if any(below.name == stack.name for below in tree.below(around.name))]
    return {
        service.name: layout.network.gateway
        for around in (*tree.below(stack.name), *above)
        for service in around.services
        if process_of(service, NAME, layout.local) and not service.is_for_this_machine
    }


def _unreachable(tree: Tree, stack: Stack, service: Service) -> list[str]:
    """Say which host processes a container is told to connect to that are on localhost, where it cannot."""
    told = stack.settings.deployer.tells if stack.settings.deployer else ()
    if service.name in told:
        how = "x-harness.host makes it a process of this machine"
        return [
            f"Service {service.name!r} ({stack.files[0]}) is told of the deployer, which no container reaches; {how}"
        ]
    command = service.compose.get("command") or ()
    texts = [*service.environment.values(), *([command] if isinstance(command, str) else map(str, command))]
    return [
        f"Service {service.name!r} ({stack.files[0]}) is told of {name}:{port.left}, a host process on 127.0.0.1, "
        "which no container can reach; without `fixed: true` it is on the address of their network"
        for name, (_, other) in tree.visible(stack.name).items()
        if other.is_at_localhost
        for port in other.ports
        if any(re.search(rf"(?<![\w.-]){re.escape(name)}:{port.left}\b", text) for text in texts)
    ]


def _restricted(written: Mapping[str, Any]) -> dict[str, Any]:
    """Return least privilege for a service that says of itself, by x-harness, that it is made for this."""
    restrictions: dict[str, Any] = {}
    if not any(str(option).startswith("no-new-privileges") for option in written.get("security_opt") or ()):
        restrictions["security_opt"] = ["no-new-privileges:true"]
    added = {str(name).upper().removeprefix("CAP_") for name in written.get("cap_add") or ()}
    restrictions["cap_drop"] = [name for name in DROPPED if name not in added and "ALL" not in added]
    limits = ((written.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    if not written.get("pids_limit") and not limits.get("pids"):
        restrictions["pids_limit"] = PIDS
    return restrictions


def _volumes(tree: Tree, stack: Stack, identity: Identity) -> dict[str, Any]:
    """Return the named volumes: each belongs to the lowest stack that declares it, so that stacks share it."""
    volumes: dict[str, Any] = {}
    for key, table in stack.volumes.items():
        if table.get("external"):
            continue
        owner = next((below.name for below in tree.below(stack.name) if key in below.volumes), stack.name)
        name = f"{identity.project(owner)}_{key}"
        volumes[key] = {"name": name, "labels": identity.labels_of("volume", name, owner)}
    return volumes
