"""What can be seen of a service that is not ready, or has ended: what it listens on, its log, what it was told."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import procs, sockets
from harness.engine.compose import hands
from harness.errors import HarnessError
from harness.ownership.identity import RUN_COOKIE, SERVICE_COOKIE
from harness.readiness.reasons import Variables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine import ServicePlan
    from harness.runs.environment import Environment
    from harness.sockets import Listener
    from harness.stack import Service, Tree

LOOK_BUDGET = 2.0
_DNS_OF_ENGINE = "127.0.0.11"  # Docker's own resolver, in every container on a network that was made


def variables_of(service: Service, tree: Tree, stack: str) -> Variables:
    """Return what a service of ``stack`` was told about others, from its file."""
    process = service.settings.embedded
    added = {key: str(value) for key, value in (process.environment if process else {}).items()}
    words = [*_words(service.compose.get("command")), *(process.command if process else ())]
    others = {service.name, *_own_names(service.compose)}
    for _, known in tree.visible(stack).values():
        others |= _own_names(known.compose)
    return Variables(
        texts={**service.environment, **added, "its command": " ".join(words)},
        services=frozenset(tree.visible(stack)) - {service.name},
        others=frozenset(others),
    )


def _words(command: object) -> list[str]:
    return [str(word) for word in command] if isinstance(command, list) else [str(command or "")]


def _own_names(table: Mapping[str, Any]) -> set[str]:
    """Return further names of a service on its networks, and those that it gives to others for itself."""
    names = {str(table[key]) for key in ("hostname", "container_name") if table.get(key)}
    for network in (table.get("networks") or {}).values():
        names.update((network or {}).get("aliases") or ())
    for key in ("extra_hosts", "links"):
        names.update(
            str(entry).replace("=", ":").rpartition(":")[0 if key == "extra_hosts" else 2]
            for entry in table.get(key) or ()
        )
    return names


def listening_of_process(env: str, service: str, pid: int) -> tuple[Listener, ...]:
    """Return what a process, its descendants and what has left them listen on."""
    carriers = procs.with_cookies(f"{RUN_COOKIE}={env}", SERVICE_COOKIE).items()
    mine = {carrier for carrier, (_, name) in carriers if name == service}
    inodes = sockets.sockets_of({pid, *mine, *procs.descendants(pid)})
    return tuple(listener for listener in sockets.listeners() if listener.inode in inodes)


def listening_in_container(environment: Environment, plan: ServicePlan, container: str) -> tuple[Listener, ...] | None:
    """Return what listens in a container's network, None when it cannot be seen.

    By /proc, or by a look in it where its process is not seen here.
    """
    pid = int(environment.explain(plan.stack, plan.service).get("pid") or 0)
    if pid and container and container in _cgroups(pid):
        found = sockets.listeners(pid)
    else:
        try:
            argv = ("cat", "/proc/net/tcp", "/proc/net/tcp6")
            done = hands.execute(environment.client, container, argv, LOOK_BUDGET)
        except HarnessError:
            return None
        if not done.stdout:
            return None
        found = sockets.parse_listeners(done.stdout)
    return tuple(one for one in found if one.host != _DNS_OF_ENGINE)


def _cgroups(pid: int) -> str:
    """Return the groups of a process: a container's have its id in their names. Its number alone proves nothing."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
    return ""
