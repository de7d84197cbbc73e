"""The compose engine: services as containers, started by Docker Compose from the stack's own file and an override.

``plan_stack`` decides and touches nothing; what it decides is one generated Compose file (the override), the options
that name it, and what must be built or fetched first. The stack's own files are never changed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from harness.engine import keys
from harness.engine.compose import lint, log_drivers, subnets
from harness.engine.compose.copies import Copies, copies_of
from harness.engine.compose.override import Replaced, Reset, write
from harness.engine.compose.recipes import recipe_of, steps_of
from harness.engine.layout import endpoints, moved_ports, process_of, variables, visible_ports
from harness.engine.local import grace_of, names_inside, plan_process, planned_seeds
from harness.engine.mounts import folders_to_make, missing_sources
from harness.engine.plan import ContainerPlan, Containers, Image, Recipe, ServicePlan, StackPlan
from harness.engine.proxies import exceptions
from harness.errors import ConfigError
from harness.images import BASE_ARGUMENT, bases_of, familiar, idle_of
from harness.ownership.objects import CHECKOUT, CHECKOUT_PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from harness.engine.compose.log_drivers import LogDrivers
    from harness.engine.identity import Identity
    from harness.engine.layout import Layout
    from harness.keeper.messages import Hook, Hooks
    from harness.stack import Probe, Service, Stack, Tree

T = TypeVar("T")
NAME = "compose"
PIDS = 4096
DEFAULT = "default"
ENVIRONMENT = "harness-environment"  # the key of the environment's network where a stack has a ``default`` of its own
_OF_NETWORKS = ("driver", "driver_opts", "enable_ipv4", "enable_ipv6", "ipam", "labels")
_ADDRESSES = frozenset(["ipv4_address", "ipv6_address", "link_local_ips", "mac_address"])
HOOKS = ("post_start", "pre_stop")
WAITS = ("sleep", "2147483647")  # for ever, nearly, as everybody's ``sleep`` understands it
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
    stack = tree.stack(name)
    problems: list[str] = []
    notes = [*stack.notes, *keys.told_beside(tree, stack, keys.CONTAINER)]
    plans: list[ServicePlan] = []
    ports = visible_ports(tree, name, layout)
    environment = variables(ports)
    override: dict[str, Any] = {"services": {}, "networks": _networks(tree, stack, layout, identity)}
    ours = _built_names(tree, stack, images, layout, identity)
    built: list[str] = []
    for service in stack.services:
        process = process_of(service, NAME, layout.local)
        try:
            if process:
                plans.append(plan_process(tree, stack, service, process, layout, notes))
                continue
            refused = keys.refused(service.name, service.compose, keys.CONTAINER)
            problems += [f"{stack.files[0]}: {why}" for why in refused]
            problems += list(lint.refused(stack, service)) or missing_sources(tree, stack, service)
            ready = _probes(stack, service, layout)
            if not layout.container_addresses:  # else nothing is published
                problems += moved_ports(f"Service {service.name!r} ({stack.files[0]})", service, layout, notes)
        except ConfigError as error:
            problems += error.problems
            continue
        notes += [
            *lint.rewritten(service),
            *lint.misled(stack, service),
            *keys.told(service.name, service.compose, keys.CONTAINER),
        ]
        image = _image_of(service, images)
        if image.name == service.image and not service.compose.get("build"):
            image = replace(image, name=ours.get(familiar(image.name), image.name))
        if image.builds:
            image = replace(image, name=identity.image(name, service.name))
            built.append(service.name)
        plans.append(replace(_plan_container(stack, service, image, layout, environment), ready=ready))
        override["services"][service.name] = _service(tree, stack, service, layout, identity, image)
        if stack.waits:
            override["services"][service.name] |= _waiting(service)
    if layout.elsewhere:
        plans = [_filled(stack, plan, override["services"], problems, notes) for plan in plans]
        problems += _made_later(tree, stack)
    if volumes := _volumes(tree, stack, identity):
        override["volumes"] = volumes
    notes += _keep_logs(stack, override["services"], logs)
    written_subnets = _subnets(tree, stack)
    problems += [*keys.refused_beside(tree, stack, keys.CONTAINER), *lint.external(stack), *lint.internal(stack)]
    problems += subnets.refused(stack.files[0], written_subnets)
    recipes = _tried(lambda: _recipes(tree, stack, built, images, layout, identity), problems) or {}
    seeds = _tried(lambda: planned_seeds(tree, stack, layout), problems) or ()
    if problems:
        raise ConfigError.of(problems)
    project = identity.project(name)
    containers = Containers(
        project=project,
        arguments=_arguments(stack, project),
        override=write(override),
        build=tuple(built),
        recipes=recipes,
        env={**environment, **_build_arguments(recipes, images)},
        free=frozenset(name for name in override["services"] if _is_free(stack, name)),
        subnets={f"{project}_{key}": written for key, written in written_subnets.items()},
    )
    return StackPlan(name, NAME, tuple(plans), tuple(notes), containers if override["services"] else None, seeds)


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


def _image_of(service: Service, images: Mapping[str, Image] | None) -> Image:
    """Return what was decided about a service's image, else what its file says."""
    return (images or {}).get(service.name) or Image(service.image, builds=bool(service.compose.get("build")))


def _built_names(
    tree: Tree, stack: Stack, images: Mapping[str, Image] | None, layout: Layout, identity: Identity
) -> dict[str, str]:
    """Return image as written -> what stands for it here, of services that are built: others may use it so."""
    names = {}
    for owner, service in tree.visible(stack.name).values():
        if service.image and service.compose.get("build") and not process_of(service, NAME, layout.local):
            image = _image_of(service, images)
            names[familiar(service.image)] = identity.image(owner.name, service.name) if image.builds else image.name
    return names


def _recipes(
    tree: Tree,
    stack: Stack,
    built: list[str],
    images: Mapping[str, Image] | None,
    layout: Layout,
    identity: Identity,
) -> dict[str, Recipe]:
    """Return how the images of a stack are built, and those that are built for these only.

    Raises:
        ConfigError: with what one of the latter may not have; or images are built from each other.
    """
    idle = idle_of(tree, stack)
    visible = tree.visible(stack.name)
    declared = idle | {name: service for name, (_, service) in visible.items()}
    names = _built_names(tree, stack, images, layout, identity)

    def builds(service: Service) -> bool:
        return _image_of(service, images).builds

    def stands(name: str) -> str:
        image = _image_of(declared[name], images)
        owner = visible[name][0] if name in visible else stack
        return identity.image(owner.name, name) if image.builds else names.get(familiar(image.name), image.name)

    recipes: dict[str, Recipe] = {}
    problems: list[str] = []
    for name, basis in bases_of(tree, stack, built, layout.environ, builds).items():
        service = declared[name]
        recipe = recipe_of(service, basis, identity.image(stack.name, name), stands)
        image = _image_of(service, images)
        labels = identity.labels_of("container", identity.container(stack.name, name), stack.name)
        added = _build_keys(image, labels, identity)
        recipe = replace(
            recipe,
            uses_engine=recipe.uses_engine or BASE_ARGUMENT in image.arguments,
            section=_with_added(service.compose["build"], added),
        )
        if name not in built:
            only = service.model_copy(update={"compose": {"build": service.compose["build"]}, "mounts": ()})
            problems += lint.refused(stack, only)
            recipe = replace(recipe, alone={"image": recipe.image, "pull_policy": "never", "build": added})
        recipes[name] = recipe
    if problems:
        raise ConfigError.of(problems)
    steps_of(recipes, built)
    return recipes


def _build_arguments(recipes: Mapping[str, Recipe], images: Mapping[str, Image] | None) -> dict[str, str]:
    """Return the values of build arguments that no file gives."""
    added: dict[str, str] = {}
    for name in recipes.keys() & (images or {}).keys():
        added |= (images or {})[name].arguments
    return added


def _with_added(section: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    return {**section, **{key: {**(section.get(key) or {}), **table} for key, table in added.items()}}


def _build_keys(image: Image, labels: Mapping[str, str], identity: Identity) -> dict[str, Any]:
    """Return what is added to the build of an image."""
    build = {"labels": {CHECKOUT: labels.get(CHECKOUT, ""), CHECKOUT_PATH: identity.checkout}}
    # Only the names: Compose takes the values, such as a proxy with its password, from its environment.
    return build | ({"args": dict.fromkeys(image.arguments)} if image.arguments else {})


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
        env={**service.environment, **{key: environment[key] for key in service.environment if key in environment}},
        endpoints=endpoints(stack.name, service, layout),
        grace=grace_of(stack, service),
        image=image.name,
        healthcheck=service.has_healthcheck,
        health_off=stack.waits or (bool(service.compose.get("healthcheck")) and not service.has_healthcheck),
        variable=image.variable,
        strategy=image.strategy,
        commit=image.commit,
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
            added = _build_keys(image, labels, identity)
            of_table = service.source is not None and bool(service.source.section)
            override["build"] = Replaced(_with_added(written["build"], added)) if of_table else added
        else:
            override["build"] = Reset()
    override["pull_policy"] = "never"
    if direct := exceptions(service.environment, tree.visible(stack.name)):
        override["environment"] = direct
    # A service that Compose starts has its first ones run by that.
    ours = HOOKS if _is_free(stack, service.name) else HOOKS[1:]
    override |= {key: Reset() for key in ours if written.get(key)}
    override |= _one_that_stays_down(written)
    if written.get("ports"):
        override["ports"] = Replaced([] if layout.container_addresses else _ports(stack, service, layout))
    if not written.get("network_mode"):
        override["networks"] = Replaced(_joined(stack, service, layout))
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


def _waiting(service: Service) -> dict[str, Any]:
    """Return what a container has that does nothing but wait for commands, whatever its file and image say."""
    written = service.compose
    waiting: dict[str, Any] = {"entrypoint": Replaced(list(WAITS)), "healthcheck": Replaced({"disable": True})}
    return waiting | {key: Reset() for key in ("command", "depends_on", "links") if written.get(key)}


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


def _joined(stack: Stack, service: Service, layout: Layout) -> dict[str, Any]:
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


def _local_hosts(tree: Tree, stack: Stack, layout: Layout) -> dict[str, str]:
    """Return name -> address of the services around this stack that run as local processes."""
    if not layout.local or layout.network is None:
        return {}
    above = [around for around in tree.stacks if any(below.name == stack.name for below in tree.below(around.name))]
    return {
        service.name: layout.network.gateway
        for around in (*tree.below(stack.name), *above)
        for service in around.services
        if process_of(service, NAME, layout.local)
    }


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


def _networks(tree: Tree, stack: Stack, layout: Layout, identity: Identity) -> dict[str, Any]:
    assert layout.network is not None  # this engine has one
    environment = Replaced({"name": layout.network.name, "external": True})
    own = _has_own_default(stack)
    networks: dict[str, Any] = {ENVIRONMENT if own else DEFAULT: environment}
    for key, table in stack.networks.items():
        if (key == DEFAULT and not own) or table.get("external"):
            continue
        # Like volumes, but Compose joins a network that another project has made only as an external one.
        owner = _maker(tree, stack, key)
        name = f"{identity.project(owner)}_{key}"
        if owner == stack.name:
            networks[key] = {"name": name, "labels": identity.labels_of("network", name, owner)}
        else:
            networks[key] = Replaced({"name": name, "external": True})
    return networks


def _maker(tree: Tree, stack: Stack, network: str) -> str:
    """Return the stack that makes a network of a file: the lowest that has services on it."""
    return next((below.name for below in tree.below(stack.name) if _uses(below, network)), stack.name)


def _made_later(tree: Tree, stack: Stack) -> Iterator[str]:
    """Say which networks a container that waits on an engine elsewhere cannot join: it is made before all others."""
    for service in stack.services if stack.waits else ():
        for key in service.compose.get("networks") or ():
            if _uses(stack, key) and not stack.networks[key].get("external") and _maker(tree, stack, key) != stack.name:
                yield (
                    f"Service {service.name!r} is on network {key!r} ({stack.files[0]}); for --inside on an engine "
                    "elsewhere, 'default' without settings was needed: it is made before all other networks"
                )


def _subnets(tree: Tree, stack: Stack) -> dict[str, tuple[str, ...]]:
    """Return what a file says of the subnets of those networks that this stack makes."""
    below = [other for other in tree.below(stack.name) if other.name != stack.name]
    tables = {
        key: subnets.of_table(table)
        for key, table in stack.networks.items()
        if _uses(stack, key) and not table.get("external") and not any(_uses(other, key) for other in below)
    }
    return {key: written for key, written in tables.items() if written}


def _uses(stack: Stack, network: str) -> bool:
    """Return whether a stack declares a network and has services of its own on it, so that it makes it."""
    used = any(network in (service.compose.get("networks") or {}) for service in stack.services)
    return network in stack.networks and used and (network != DEFAULT or _has_own_default(stack))


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
