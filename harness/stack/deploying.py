"""The deployer of a stack as a service of it, and the copies of templates that it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import nearest
from harness.stack.model import HttpProbe, Port, Probe, Process, Service, ServiceSettings, Stack, Tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.stack.model import Deployer, Template

DEPLOYER = "deployer"
PORT = 7070
URL, TOKEN_FILE = "HARNESS_DEPLOYER_URL", "HARNESS_DEPLOYER_TOKEN_FILE"
UNAUTHORIZED = 401


def with_deployer(services: Sequence[Service], deployer: Deployer) -> list[Service]:
    """Return the services of a stack with its deployer, for which those that it tells wait."""
    made = Service(
        name=DEPLOYER,
        ports=(Port(left=PORT, right=PORT),),
        settings=ServiceSettings(
            # It answers nobody without its token, and that proves that it is there.
            ready=(Probe(http=HttpProbe(port=PORT, path="/instances", status=(UNAUTHORIZED,))),),
            host=Process(command=("python", "-P", "-m", "harness.deployer", "{address}", f"{{port:{PORT}}}", "{data}")),
            sources=tuple(dict.fromkeys(template.file for template in deployer.templates.values())),
        ),
        is_ours=True,
    )
    return [*(_told(service) if service.name in deployer.tells else service for service in services), made]


def _told(service: Service) -> Service:
    return service.model_copy(update={"depends_on": {**service.depends_on, DEPLOYER: "service_healthy"}})


def service_named(name: str, services: Sequence[Service]) -> list[str]:
    """Return why a service cannot be added, nothing when its name is free."""
    taken = any(service.name == name for service in services)
    return [f"service {name!r} has the name of the one that x-harness.deployer adds; it needs another"] if taken else []


def wrong_in_deployer(stack: Stack) -> Iterator[str]:
    """Say what is wrong with the names and files of a stack's deployer."""
    deployer = stack.settings.deployer
    if deployer is None:
        return
    own = [service.name for service in stack.services if not service.is_ours]
    for name in deployer.tells:
        if name not in own:
            yield f"tells {name!r}, which is no service of this file{nearest(name, own)}"
    for name, template in deployer.templates.items():
        if not (stack.folder / template.file).is_file():
            yield f"template {name!r}: file {stack.folder / template.file} does not exist"


def template_problem(tree: Tree, template: Template) -> str:
    """Return why a file is no template, "" when it is one."""
    file, services = tree.root.files[0], [service for stack in tree.stacks for service in stack.services]
    names = ", ".join(service.name for service in services) or "none"
    if len(services) != 1:
        return f"{file} has {len(services)} services ({names}); a template has one"
    if services[0].name != template.service:
        return f"{file} has no service {template.service!r}; it has: {names}"
    if not any(port.protocol == "tcp" for port in services[0].ports):
        return f"{file}: service {template.service!r} publishes no TCP port, so nobody could reach it"
    return ""


def copy_of(tree: Tree, name: str, given: Mapping[str, str], maker: str) -> Tree:
    """Return a template as a stack of its own.

    Args:
        tree: the template.
        name: of the stack.
        given: variables for its service.
        maker: the stack whose deployer makes it.
    """
    service = tree.root.services[0].model_copy(update={"given": dict(given)})
    return Tree(
        stacks=(tree.root.model_copy(update={"name": name, "services": (service,), "notes": (), "maker": maker}),)
    )
