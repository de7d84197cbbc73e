"""What becomes of each key of a Compose file: one table for every engine, as data.

``docs/compose-keys.md`` is generated from it (``nox -s docs``), plans tell from it what is left out, and a test walks
the schema of the Compose specification so that no key is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from harness.stack import Service, Stack, Tree

CONTAINER = 0
PROCESS = 1
Fate = Literal["honoured", "replaced", "told", "refused"]


class Verdict(NamedTuple):
    """What becomes of a key.

    ``honoured``: it means what Compose says. ``replaced``: ``x-harness`` says it in the key's place. ``told``: it is
    left out, with a line that says why. ``refused``: the stack is not started (exit code 10), unless the service's
    ``x-harness.allow`` has the word ``allow``.
    """

    fate: Fate
    why: str = ""
    allow: str = ""


class Key(NamedTuple):
    """One key: of what it is one, its name, and its verdict as a container and as a local process."""

    kind: str
    name: str
    container: Verdict
    process: Verdict


def _told(why: str) -> Verdict:
    return Verdict("told", why)


def _refused(why: str, allow: str = "") -> Verdict:
    return Verdict("refused", why, allow)


_YES = Verdict("honoured")
_INSTEAD = Verdict("replaced", "`x-harness.embedded` or `local` says it")
_NO_CONTAINER = _told("there is no container")
_NO_LIMITS = _told("a process has no limits of its own")
_NO_NAMESPACE = _told("a process is in this machine's namespaces")
_NO_NETWORK = _told("a process uses loopback")
_YOURS = _told("a process has your rights")
_NO_BUILD = Verdict("replaced", "nothing is built")
_BUILDX = Verdict("honoured", "buildx is needed")
_CONTEXTS = Verdict("honoured", "images of services are built first; folders and URLs need buildx")
_SETTLING = Verdict("honoured", "while its stack settles; afterwards a service that ends is news")
_PULL = Verdict("honoured", "`never` is; otherwise an image that is there is used, and a missing one is pulled")
_BEFORE = _refused("make it a service, and have this one depend on it by service_completed_successfully")
_ONE = _told("0 switches it off, more would share one address")
_SWARM = _told("it is for a swarm")
_WINDOWS = _told("it is for Windows")
_OTHERS = _refused("it belongs to others", "external")
_POWER = _refused("it gives power over this machine", "privileged")
_HOST = Verdict("honoured", "`host` needs `allow: [host-namespace]`, `container:` needs `allow: [external]`")
_NO_MODELS = _refused("no engine here runs models; make it a service")


def _rows(kind: str, container: Verdict, process: Verdict, names: str) -> Iterator[Key]:
    return (Key(kind, name, container, process) for name in names.split())


KEYS: tuple[Key, ...] = (
    *_rows("service", _YES, _YES, "depends_on env_file environment expose extends ports profiles volumes"),
    *_rows("service", _YES, _INSTEAD, "build command entrypoint image platform"),
    *_rows("service", _PULL, _INSTEAD, "pull_policy"),
    *_rows("service", _told("images that are there are used"), _INSTEAD, "pull_refresh_after"),
    *_rows("service", _YES, _INSTEAD, "working_dir healthcheck"),
    *_rows("service", _YES, Verdict("honoured", "NAME:PORT of it becomes the address"), "hostname links"),
    *_rows(
        "service",
        Verdict("honoured", "as a name on the networks; environments would meet under the container's own"),
        Verdict("honoured", "NAME:PORT of it becomes the address"),
        "container_name",
    ),
    *_rows("service", _YES, _YES, "stop_grace_period stop_signal secrets configs"),
    *_rows("service", _YES, _NO_CONTAINER, "annotations labels label_file stdin_open tty init storage_opt"),
    *_rows("service", Verdict("honoured", "`none` is replaced, and told"), _NO_CONTAINER, "logging"),
    *_rows("service", _YES, _NO_CONTAINER, "read_only tmpfs shm_size"),
    *_rows("service", _YES, _NO_LIMITS, "blkio_config cpu_shares cpu_quota cpu_period cpu_rt_period cpu_rt_runtime"),
    *_rows("service", _YES, _NO_LIMITS, "cpus cpuset mem_limit mem_reservation mem_swappiness memswap_limit ulimits"),
    *_rows("service", _YES, _NO_LIMITS, "oom_kill_disable oom_score_adj pids_limit"),
    *_rows("service", _YES, _YOURS, "cap_drop group_add user gpus runtime"),
    *_rows("service", Verdict("honoured", "beyond Docker's own ones: `allow: [cap_add]`"), _YOURS, "cap_add"),
    *_rows("service", Verdict("honoured", "unconfined: `allow: [privileged]`"), _YOURS, "security_opt"),
    *_rows("service", _POWER, _YOURS, "privileged devices device_cgroup_rules cgroup_parent"),
    *_rows("service", _POWER, _INSTEAD, "provider"),
    *_rows("service", _refused("it gives power over the engine", "engine-socket"), _YOURS, "use_api_socket"),
    *_rows("service", _HOST, _NO_NAMESPACE, "cgroup ipc pid userns_mode uts"),
    *_rows("service", _HOST, _NO_NETWORK, "network_mode"),
    *_rows("service", _YES, _NO_NAMESPACE, "sysctls"),
    *_rows("service", _YES, _NO_NETWORK, "dns dns_opt dns_search domainname extra_hosts mac_address"),
    *_rows("service", _YES, Verdict("honoured", "their names; all services reach each other by loopback"), "networks"),
    *_rows("service", _OTHERS, _NO_NETWORK, "external_links"),
    *_rows("service", _YES, _refused("a process mounts nothing: list its volumes themselves"), "volumes_from"),
    *_rows("service", _SETTLING, _SETTLING, "restart"),
    *_rows("service", _ONE, _ONE, "scale"),
    *_rows("service", _YES, _YES, "deploy"),
    *_rows("service", _told("logs of all services are kept"), _told("logs of all services are kept"), "attach"),
    *_rows("service", _told("it is for `compose watch`"), _told("it is for `compose watch`"), "develop"),
    *_rows("service", _YES, _told("hooks run in containers only"), "post_start pre_stop"),
    *_rows("service", _BEFORE, _BEFORE, "pre_start"),
    *_rows("service", _NO_MODELS, _NO_MODELS, "models"),
    *_rows("service", _WINDOWS, _WINDOWS, "cpu_count cpu_percent credential_spec isolation"),
    *_rows("deploy", _ONE, _ONE, "replicas"),
    *_rows("deploy", _YES, _NO_LIMITS, "resources"),
    *_rows("deploy", _SETTLING, _SETTLING, "restart_policy"),
    *_rows("deploy", _SWARM, _SWARM, "endpoint_mode labels mode placement rollback_config update_config"),
    *_rows("build", _CONTEXTS, _NO_BUILD, "additional_contexts"),
    *_rows("build", _BUILDX, _NO_BUILD, "secrets ssh"),
    *_rows("build", _YES, _NO_BUILD, "args cache_from cache_to context dockerfile"),
    *_rows("build", _YES, _NO_BUILD, "dockerfile_inline extra_hosts labels no_cache no_cache_filter provenance pull"),
    *_rows("build", _YES, _NO_BUILD, "sbom shm_size tags target ulimits platforms"),
    *_rows("build", Verdict("honoured", "`host` needs `allow: [host-namespace]`"), _NO_BUILD, "network"),
    *_rows("build", _POWER, _NO_BUILD, "entitlements privileged"),
    *_rows("build", _WINDOWS, _NO_BUILD, "isolation"),
    *_rows("network", _told("environments would meet under it"), _NO_NETWORK, "name"),
    *_rows("network", _YES, _NO_NETWORK, "driver driver_opts enable_ipv4 enable_ipv6 internal ipam labels"),
    *_rows("network", _SWARM, _NO_NETWORK, "attachable"),
    *_rows("network", _OTHERS, _NO_NETWORK, "external"),
    *_rows("volume", _told("environments would meet under it"), _YES, "name"),
    *_rows("volume", _YES, _told("a volume is a folder of the environment"), "driver driver_opts labels"),
    *_rows("volume", _OTHERS, _told("a volume is a folder of the environment"), "external"),
    *_rows("secret", _YES, _YES, "environment file name"),
    *_rows("secret", _SWARM, _SWARM, "driver driver_opts labels template_driver"),
    *_rows("secret", _refused("only a swarm has it"), _refused("only a swarm has it"), "external"),
    *_rows("config", _YES, _YES, "content environment file name"),
    *_rows("config", _SWARM, _SWARM, "labels template_driver"),
    *_rows("config", _refused("only a swarm has it"), _refused("only a swarm has it"), "external"),
)

_TABLE = {(key.kind, key.name): key for key in KEYS}
# Told in words of their own, with their values.
_TOLD_APART = ("scale", "replicas")
# What an engine takes anyway, so that to write it says nothing.
_DRIVERS = {"network": "bridge", "volume": "local"}


def verdict(kind: str, name: str, place: int) -> Verdict | None:
    """Return what becomes of a key, None for one that is not in the table (``x-...``)."""
    key = _TABLE.get((kind, name))
    return (key.container, key.process)[place] if key else None


def _says_something(name: str, value: object) -> bool:
    """Return whether a value is other than what holds anyway."""
    if isinstance(value, bool):
        return value != (name == "attach")
    if name in _TOLD_APART:
        return value not in (None, 0, 1, "")
    return value not in (None, "", 0, "no", "none", [], {})


def _found(table: Mapping[str, Any], place: int, fate: Fate) -> Iterator[tuple[str, Verdict]]:
    """Find the keys of a service that say something and have this fate."""
    tables = {"service": table, "deploy": table.get("deploy") or {}, "build": table.get("build") or {}}
    for kind, written in tables.items():
        for name, value in written.items():
            found = verdict(kind, name, place)
            if found and found.fate == fate and _says_something(name, value):
                yield (name if kind == "service" else f"{kind}.{name}"), found


def told(service: str, table: Mapping[str, Any], place: int) -> Iterator[str]:
    """Say which keys of a service are left out, and why: one line, or none."""
    found = [
        (name, reason)
        for name, reason in _found(table, place, "told")
        if place == PROCESS or name.rpartition(".")[2] not in _TOLD_APART
    ]
    yield from _left_out(f"service {service!r}", found)


def refused(service: str, table: Mapping[str, Any], place: int) -> Iterator[str]:
    """Say which keys of a service cannot be had at all, whatever its ``x-harness.allow`` says."""
    for name, found in _found(table, place, "refused"):
        if not found.allow:
            yield f"service {service!r}: {name} is refused: {found.why}"


def told_beside(tree: Tree, stack: Stack, place: int) -> Iterator[str]:
    """Say which keys are left out of the networks, volumes, secrets and configs that a stack's own services use."""
    for kind, name, table in _tables(tree, stack):
        yield from _left_out(f"{kind} {name!r}", _found_beside(kind, table, place, "told"))


def refused_beside(tree: Tree, stack: Stack, place: int) -> Iterator[str]:
    """Say which keys of those cannot be had at all."""
    for kind, name, table in _tables(tree, stack):
        for key, found in _found_beside(kind, table, place, "refused"):
            if not found.allow:
                yield f"{stack.files[0]}: {kind} {name!r}: {key} is refused: {found.why}"


def _found_beside(kind: str, table: Mapping[str, Any], place: int, fate: Fate) -> Iterator[tuple[str, Verdict]]:
    for name, value in sorted(table.items()):
        found = verdict(kind, name, place)
        plain = name == "driver" and value == _DRIVERS.get(kind)
        if found and found.fate == fate and not plain and _says_something(name, value):
            yield name, found


def _left_out(whose: str, found: Iterable[tuple[str, Verdict]]) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for name, reason in found:
        reasons.setdefault(reason.why, []).append(name)
    if reasons:
        yield f"{whose}: left out: " + "; ".join(f"{', '.join(names)} ({why})" for why, names in reasons.items())


def _tables(tree: Tree, stack: Stack) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Find kind, name and table of what a stack's own services use and no stack below it declares."""
    below = [other for other in tree.below(stack.name) if other is not stack]
    for kind in ("network", "volume", "secret", "config"):
        used = {name for service in stack.services for name in _used(kind, service)}
        for name, table in getattr(stack, f"{kind}s").items():
            if name in used and not any(name in getattr(other, f"{kind}s") for other in below):
                yield kind, name, table


def _used(kind: str, service: Service) -> Iterable[str]:
    if kind == "network":
        return () if service.compose.get("network_mode") else service.compose.get("networks") or ("default",)
    if kind == "volume":
        return (mount.source for mount in service.mounts if mount.kind == "volume")
    return (str(grant["source"]) for grant in service.compose.get(f"{kind}s") or ())
