"""The attach engine: a stack that somebody else has started. Nothing is started here, and nothing is removed.

Where its services are is said by ``HARNESS_ENDPOINT_<SERVICE>_<PORT>=host:port`` in the environment, or by
``"SERVICE:PORT" = "host:port"`` under ``[tool.harness.attach.<stack>]``; the environment goes first.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from harness.engine.layout import ATTACH, endpoints, process_of
from harness.engine.local import plan_process
from harness.engine.plan import AttachedPlan, Endpoint, ServicePlan, StackPlan
from harness.errors import ConfigError
from harness.stack import numbers_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine.layout import Layout, Local
    from harness.stack import Port, Service, Tree

NAME = ATTACH
INSIDE = "HARNESS_INSIDE"  # set where it is a container beside the services that asks for them by their names


def variable_of(service: str, port: int) -> str:
    """Return the variable that says where a port of a service is."""
    return f"HARNESS_ENDPOINT_{re.sub(r'[^A-Z0-9]', '_', service.upper())}_{port}"


def locate(
    tree: Tree, environ: Mapping[str, str], tables: Mapping[str, Mapping[str, str]], local: Local
) -> dict[str, tuple[Endpoint, ...]]:
    """Return ``stack/service`` -> endpoints of everything in ``tree`` that does not run as a local process.

    Raises:
        ConfigError: with every address that is missing or is none.
    """
    located: dict[str, tuple[Endpoint, ...]] = {}
    missing: list[str] = []
    wrong: list[str] = []
    for stack in tree.stacks:
        table = {**tables.get(stack.name, {}), **tables.get(tree.root.name, {})}
        for service in stack.services:
            if process_of(service, NAME, local) or service.is_ours:
                continue
            ends = []
            for port in service.ports:
                written, where = _written(service, port, environ, table)
                if not written:
                    missing.append(f"{service.name}:{port.left} ({variable_of(service.name, port.left)})")
                elif address := _parsed(written):
                    ends.append(Endpoint(service.name, port.left, port.right, *address, port.protocol))
                else:
                    wrong.append(f"{where} is {written!r}, host:port was needed")
            located[f"{stack.name}/{service.name}"] = tuple(ends)
    if missing:
        head = f"Engine attach needs the address of every port of stack {tree.root.name!r}; missing: "
        wrong.append(head + ", ".join(missing))
    if wrong:
        raise ConfigError.of(
            wrong,
            hint="`harness endpoints --env` of whoever started it prints them; or write them as "
            f'"SERVICE:PORT" = "host:port" under [tool.harness.attach.{tree.root.name}]',
        )
    return located


def _written(service: Service, port: Port, environ: Mapping[str, str], table: Mapping[str, str]) -> tuple[str, str]:
    """Return what is written about a port, and where."""
    for number in numbers_of(port, service.ports):
        variable, key = variable_of(service.name, number), f"{service.name}:{number}"
        if environ.get(variable):
            return environ[variable], variable
        if key in table:
            return table[key], f'"{key}" in [tool.harness.attach]'
    return "", ""


def _parsed(text: str) -> tuple[str, int] | None:
    host, _, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or re.search(r"[\s/@]", host) or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        return None
    return host, int(port)


def _is_elsewhere(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def plan_stack(tree: Tree, name: str, layout: Layout) -> StackPlan:
    """Return what the stack ``name`` of ``tree`` is when it is there already.

    Raises:
        ConfigError: something that shall run as a local process cannot.
    """
    stack = tree.stack(name)
    notes: list[str] = []
    services: list[ServicePlan] = []
    for service in stack.services:
        if service.is_ours:
            continue  # there is nothing that it could start
        process = process_of(service, NAME, layout.local)
        if process:
            services.append(plan_process(tree, stack, service, process, layout, notes))
            continue
        ends = endpoints(name, service, layout)
        services.append(AttachedPlan(name, service.name, dict(service.environment), ends, ready=service.settings.ready))
        notes += [
            f"service {service.name!r} is at {end}, which may be another machine; tests will talk to it"
            for end in ends
            if _is_elsewhere(end.host) and not layout.environ.get(INSIDE)
        ]
    if stack.settings.seed:
        notes.append(f"stack {name!r} is somebody else's: its {len(stack.settings.seed)} seed(s) are left out")
    return StackPlan(name, NAME, tuple(services), tuple(notes))
