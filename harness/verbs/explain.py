"""What a command would do, without doing it; what a stack is, as it is written and as it is rendered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.artifacts import printable
from harness.engine.fingerprint import differences, parts_of
from harness.engine.identity import Identity
from harness.errors import relative
from harness.keeper.networks import Network
from harness.procs import describe_exit
from harness.runs.changes import changed_services, seeds_told
from harness.runs.choice import Choice, choose
from harness.runs.images import images_of
from harness.runs.known import checkout_of, record_in, services_of
from harness.runs.replacing import beyond_services
from harness.stack import show_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.config import Settings
    from harness.engine import StackPlan
    from harness.engine.layout import Stranger
    from harness.keeper.messages import ServiceFacts, StackFacts
    from harness.stack import Tree


@dataclass(frozen=True)
class Explained:
    """What `up` would do with one stack.

    Attributes:
        stack: its name.
        act: ``start``, ``start anew``, ``replace`` (services of it that changed), ``leave``, or ``refuse`` where a
            service of what is up is down.
        reasons: what differs from what is up, without values; which services are down, and what helps.
        notes: what is not done as its file says; which seeds were planted from files that are others now.
    """

    stack: str
    act: str
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def explain(settings: Settings, *, fresh: bool = False) -> tuple[str, list[Explained]]:
    """Return the engine with the reason for it, and what `up` would do with each stack. Nothing is changed.

    Raises:
        ConfigError: something written is wrong.
    """
    choice = choose(settings)
    tree = choice.read(settings.default_stack())
    strangers, _ = choice.check(tree)
    chosen = f"{choice.engine.name} ({choice.why})"
    record = choice.kept.get(choice.engine.name)
    stacks: dict[str, StackFacts] = {}
    services: list[ServiceFacts] = []
    if record:
        answer = services_of(record)
        stacks, services = answer["stacks"], answer["services"]
    changed = {
        stack.name: changed_services(Path(record.folder), stack.name, services, settings.root) if record else []
        for stack in tree.stacks
    }
    found = []
    plans = _dry_plans(choice, tree, strangers)
    for stack, plan in zip(tree.stacks, plans, strict=True):
        kept = record_in(stacks, stack.name)
        if not kept:
            found.append(Explained(stack.name, "start", ("it is not up",)))
        elif kept.get("failed"):
            found.append(Explained(stack.name, "start anew", ("it did not settle and was left for a look",)))
        elif reasons := differences(
            kept["parts"], now := parts_of(stack, plan, choice.local, localhost=choice.is_localhost)
        ):
            act = "start anew" if beyond_services(kept["parts"], now) else "replace"
            found.append(Explained(stack.name, act, (*reasons, *(f"service {one}" for one in changed[stack.name]))))
        elif changed[stack.name]:
            found.append(Explained(stack.name, "replace", tuple(f"service {one}" for one in changed[stack.name])))
        elif down := _down(services, stack.name, kept):
            found.append(Explained(stack.name, "refuse", tuple(down)))
        else:
            found.append(Explained(stack.name, "leave"))
    found = [
        replace(one, notes=(*map(relative, plan.notes), *_of_seeds(one, stacks)))
        for one, plan in zip(found, plans, strict=True)
    ]
    if stacks and fresh:
        found = [replace(one, act="start anew", reasons=("--fresh", *one.reasons)) for one in found]
    elif any(one.act == "start anew" for one in found):
        why = ("another stack of the environment was changed",)
        found = [
            one if one.act.startswith("start") else replace(one, act="start anew", reasons=(*one.reasons, *why))
            for one in found
        ]
    return chosen, found


def _of_seeds(explained: Explained, stacks: Mapping[str, StackFacts]) -> list[str]:
    """Return what is told of the seeds of a stack that stays up."""
    if explained.act.startswith("start"):
        return []  # all are planted
    return seeds_told(record_in(stacks, explained.stack).get("seed_files", {}))


def _down(services: list[ServiceFacts], stack: str, record: dict[str, Any]) -> list[str]:
    """Return what `up` refuses to leave as it is: services of a stack that do not run and should."""
    reasons = []
    for facts in services:
        name, code = facts["service"], facts["exit_code"]
        done = code == 0 and name in record.get("oneshots", ())
        if facts["stack"] == stack and facts["state"] != "running" and not done:
            how = facts["state"] if code is None else f"ended with {describe_exit(code)}"
            reasons.append(f"service {name!r} {how}; `harness restart --service {name}` starts it again")
    return reasons


def _dry_plans(
    choice: Choice, tree: Tree, strangers: dict[tuple[int, str], Stranger], *, shown: bool = False
) -> list[StackPlan]:
    """Return the plan of each stack, with addresses that stand for those of an environment."""
    settings = choice.settings
    layout = choice.dry_layout(tree, strangers)
    if shown:
        addresses = {name: f"127.16.0.{number % 250 + 2}" for number, name in enumerate(layout.addresses)}
        ports = {name: 15000 + number for number, name in enumerate(layout.ports)}
        folders = {"work": Path("/RUN/work"), "logs": Path("/RUN/services")}
        layout = replace(layout, addresses=addresses, ports=ports, **folders)  # type: ignore[arg-type]
        if layout.network:
            layout = replace(layout, network=Network("harness-RUN", "10.213.0.0/24", "10.213.0.1"))
    identity = Identity(checkout_of(settings), "RUN", {})
    return [
        choice.engine.plan(tree, stack.name, layout, identity, images_of(tree, stack, settings.environ, None))
        for stack in tree.stacks
    ]


def written(settings: Settings) -> list[dict[str, Any]]:
    """Return each stack of the chosen one's tree as Compose merges it, variables and env files left as written.

    Raises:
        ConfigError: something in its files is wrong.
    """
    tree = choose(settings).read(settings.default_stack())
    return [
        {
            "stack": stack.name,
            "files": [str(file) for file in stack.files],
            "includes": list(stack.includes),
            "config": show_config(stack.files, settings.environ, stack.project_directory),
        }
        for stack in tree.stacks
    ]


def rendered(settings: Settings) -> list[dict[str, Any]]:
    """Return what each stack becomes on the engine: its plan, the files of processes, the override of containers.

    Addresses stand for those that an environment would get, ``/RUN`` for its folder.

    Raises:
        ConfigError: something in its files cannot work on this engine.
    """
    choice = choose(settings)
    tree = choice.read(settings.default_stack())
    strangers, _ = choice.check(tree)
    made = []
    for plan in _dry_plans(choice, tree, strangers, shown=True):
        files = {
            str(copy.target): {
                "source": copy.source,
                "content": f"({len(copy.content)} bytes, not shown)" if copy.hidden else printable(copy.content),
            }
            for service in plan.services
            for copy in service.files
        }
        override = plan.containers.override if plan.containers else ""
        made.append(
            {"stack": plan.stack, "engine": plan.engine, "plan": str(plan), "files": files, "override": override}
        )
    return made


def in_words(one: dict[str, Any]) -> str:
    """Return what ``written`` or ``rendered`` gave for a stack, for people; it can be read as YAML again."""
    if "config" in one:
        return f"# stack {one['stack']}: {', '.join(one['files'])}\n{one['config']}"
    lines = [f"# {line}" for line in one["plan"].splitlines()]
    for path, file in one["files"].items():
        lines += ["", f"# {path}, from {file['source']}", *file["content"].splitlines()]
    return "\n".join([*lines, *(["", "# override for Compose", one["override"]] if one["override"] else []), ""])
