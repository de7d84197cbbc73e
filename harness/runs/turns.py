"""A port of localhost is there once on a machine: who has it, and whose turn it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import procs
from harness.clock import Deadline, poll
from harness.engine.layout import LOCALHOST, LOOPBACK, find_holders
from harness.errors import ConfigError
from harness.keeper.addresses import claimant_of
from harness.keeper.living import find_living
from harness.keeper.messages import FixPorts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.engine.layout import Stranger
    from harness.engine.plan import Endpoint
    from harness.keeper.messages import Fixed
    from harness.runs.choice import Choice
    from harness.runs.environment import Environment
    from harness.stack import Tree

_END_IT = "end that, or change the port"
CLOSING = 0.5  # seconds in which a port that was given back is closed, at most
Ports = dict[tuple[int, str], str]
"""(number, protocol) -> the service that has it."""


def ports_of(endpoints: Mapping[str, tuple[Endpoint, ...]]) -> Ports:
    """Return the ports of a stack that are on localhost, of service -> its published ports."""
    return {
        (end.port, end.protocol): service for service, ends in endpoints.items() for end in ends if end.host == LOOPBACK
    }


def refuse_strangers(choice: Choice, tree: Tree) -> None:
    """Do nothing when nobody has the ports of a tree's host processes but environments of ours, which take turns.

    For a run that has no environment yet: then nothing of it is there.

    Raises:
        ConfigError: somebody else has one, whom it names.
    """
    services = [(stack, service) for stack in tree.stacks for service in choice.at_localhost(stack)]
    wanted = {
        (port.left, port.protocol): (stack.name, service.name)
        for stack, service in services
        if service.is_at_localhost
        for port in service.ports
        if claimant_of(port.left) is None
    }
    if wanted and (holders := find_holders(wanted)):
        raise ConfigError.of(
            [
                "Stack {!r}: port {}/{} of {!r} is held by {}".format(wanted[key][0], *key, wanted[key][1], holder.who)
                for key, holder in sorted(holders.items())
            ],
            hint=_END_IT,
        )


def take_ports(environment: Environment, stack: str, ports: Ports, say: Callable[[str], None]) -> None:
    """Claim the ports of a stack for its environment, until the stack is removed. Those that it has already are kept.

    Where another environment has one of them, it is waited for as long as ``wait_timeout`` says.

    Raises:
        ConfigError: one is held by somebody else, whom it names.
    """
    if not ports:
        return
    new = {key: service for key, service in ports.items() if key[0] in _claim(environment, stack, ports, say)}
    holders = _holders(set(new))
    if holders:
        give_back(environment, stack)
        raise ConfigError.of(
            [
                f"Stack {stack!r}: port {number}/{protocol} of {new[number, protocol]!r} is held by {holder.who}"
                for (number, protocol), holder in sorted(holders.items())
            ],
            hint="; ".join([_END_IT, *_without_localhost(environment, "service")]),
        )


def give_back(environment: Environment, stack: str) -> None:
    """Give back the ports of a stack that does not come up; those of one that is there stay."""
    environment.link.ask(FixPorts(stack=stack, ports=[]))


def _holders(ports: set[tuple[int, str]]) -> dict[tuple[int, str], Stranger]:
    """Return who holds ports; an engine closes those of a container that was removed a moment after it."""
    holders: dict[tuple[int, str], Stranger] = {}
    for _ in poll(Deadline.after(CLOSING)):
        holders = find_holders(ports)
        if not holders:
            break
    return holders


def _claim(environment: Environment, stack: str, ports: Ports, say: Callable[[str], None]) -> list[int]:
    """Claim ports, when it is their turn; return those that are new."""
    wait = environment.settings.wait_timeout or 0.0
    deadline, told, holder = Deadline.after(wait), False, ""
    numbers = sorted({number for number, _ in ports})
    for _ in poll(deadline):
        environment.check_wanted()
        fixed = environment.link.ask(FixPorts(stack=stack, ports=numbers))
        if not fixed["taken"]:
            return fixed["new"]
        if fixed["pid"] or not holder:  # one that is asked for long may not tell its number any more
            holder = _holder(environment, fixed)
        service = next(name for (number, _), name in ports.items() if number == fixed["taken"])
        line = f"port {fixed['taken']} of {service!r} is held by {holder}"
        if deadline.expired():
            break
        if not told:
            told = True
            say(f"{line}; it is waited for, {wait:g} s at most")
    waited = f" for {wait:g} s" if wait else ""
    raise ConfigError(
        f"Stack {stack!r}: {line}{waited}",
        hint="; ".join(
            ["`harness down` there, or --wait-timeout to wait for it", *_without_localhost(environment, "environment")]
        ),
    )


def _without_localhost(environment: Environment, whose: str) -> list[str]:
    """Return how to do without ports on localhost, where that was chosen for all services."""
    told = f"without `addresses = localhost` each {whose} has addresses of its own"
    return [told] if environment.settings.addresses == LOCALHOST else []


def _holder(environment: Environment, fixed: Fixed) -> str:
    """Return who has a port, in words."""
    if fixed["stack"]:
        return f"stack {fixed['stack']!r} of this environment"
    for record in find_living(environment.settings.state):
        if record.keeper.pid == fixed["pid"]:
            return f"the environment of {record.checkout} ({record.env}, pid {record.keeper.pid})"
    command = procs.command_of(fixed["pid"]) if fixed["pid"] else ""
    return f"an environment of ours, pid {fixed['pid']} ({command})" if command else "an environment of another user"
