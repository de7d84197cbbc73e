"""A service that is set apart from its stack: it waits for commands to be run in it, beside what it would run with."""

from __future__ import annotations

from harness.errors import ConfigError, nearest
from harness.stack.model import ServiceSettings, Stack, StackSettings, Tree

SUFFIX = "-inside"


def set_apart(tree: Tree, name: str) -> Tree:
    """Return a tree whose root is a stack of one service alone, which waits beside all the others.

    Args:
        tree: the stacks, one of which has the service.
        name: the service.

    Raises:
        ConfigError: there is none, or another one needs it.
    """
    owner = next((stack for stack in tree.stacks if stack.service(name)), None)
    if owner is None:
        names = [service.name for stack in tree.stacks for service in (*stack.services, *stack.idle)]
        raise ConfigError(
            f"Service {name!r}, for --inside, is not in {tree.root.files[0]}; there are: {', '.join(names)}"
            f"{nearest(name, names)}",
            hint="write it there, with a profile of its own, or name another one as `inside` of the system",
        )
    users = [service.name for stack in tree.stacks for service in stack.services if name in service.depends_on]
    if users:
        raise ConfigError(
            f"Service {name!r} ({owner.files[0]}) cannot wait for --inside: service {users[0]!r} depends on it"
        )
    rest = tuple(service for service in owner.services if service.name != name)
    stacks = [stack.model_copy(update={"services": rest}) if stack is owner else stack for stack in tree.stacks]
    return Tree(stacks=(*stacks, _alone(tree, owner, name)))


def _alone(tree: Tree, owner: Stack, name: str) -> Stack:
    """Return the stack of a service that waits, with the files of its owner, above all others."""
    service = owner.service(name)
    assert service is not None  # the caller looked
    # What one service of a file may use that is somebody else's, all of that file may.
    others = {word for other in owner.services for word in other.settings.allow if word == "external"}
    allow = tuple(sorted({*service.settings.allow, *others}))
    waiting = service.model_copy(
        update={
            "settings": ServiceSettings(subject=service.settings.subject, allow=allow),
            "ports": (),
            "depends_on": {},
            "has_healthcheck": False,
            "stop_grace": 0.0,
        }
    )
    return owner.model_copy(
        update={
            "name": f"{tree.root.name}{SUFFIX}",
            "includes": tuple(stack.name for stack in tree.stacks),
            "services": (waiting,),
            "settings": StackSettings(timeouts=owner.settings.timeouts),
            "notes": (),
            "waits": True,
        }
    )
