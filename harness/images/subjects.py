"""Which image a service runs: as ``<SUBJECT>_CONTAINER`` says, else its subject's table, else its file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.config.subjects import IMAGE
from harness.errors import ConfigError, nearest
from harness.images.git import folder_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.config.subjects import Subject
    from harness.stack import Service, Tree

Kind = Literal["declared", "build", "prebuilt", "archive", "skip"]
_PREBUILT, _ARCHIVE = "prebuilt=NAME:TAG", "archive=PATH"
_VALID = ("build", _PREBUILT, _ARCHIVE, "skip")


@dataclass(frozen=True)
class Choice:
    """What a service runs.

    Attributes:
        kind: ``declared`` as its file says, ``build`` anew from its build section, ``prebuilt`` another image,
            ``archive`` the image of an archive, ``skip`` it is not started.
        variable: the variable that decides, "" when none can.
        image: the image of a prebuilt one, else "".
        archive: the archive, None for none.
        commit: the commit that is built, "" where that is not known.
    """

    kind: Kind
    variable: str = ""
    image: str = ""
    archive: Path | None = None
    commit: str = ""


def variable_of(service: Service) -> str:
    """Return the variable that chooses the image of ``service``; "" for services without x-harness."""
    if not service.has_settings:
        return ""
    return re.sub(r"[^A-Z0-9]", "_", (service.settings.subject or service.name).upper()) + "_CONTAINER"


def _variables_of(service: Service) -> tuple[str, ...]:
    variable = variable_of(service)
    return (variable, *(service.source.synonyms if service.source else ())) if variable else ()


def choose(service: Service, environ: Mapping[str, str]) -> Choice:
    """Return what ``service`` runs.

    Raises:
        ConfigError: its variable has a value that is none of the valid ones, or a synonym of it has another one.
    """
    variable = variable_of(service)
    set_ = {name: environ[name] for name in _variables_of(service) if environ.get(name)}
    if len(set(set_.values())) > 1:
        both = " and ".join(f"{name}={value}" for name, value in set_.items())
        raise ConfigError(f"{both}: they mean the same, and differ", hint="set one of them")
    variable, value = next(iter(set_.items()), (variable, ""))
    if not value:
        return _by_table(service.source, variable) if service.source else Choice("declared", variable)
    kind, equals, rest = value.partition("=")
    if value == "skip":
        return Choice("skip", variable)
    if value == "build":
        if not service.compose.get("build"):
            raise ConfigError(
                f"{variable}=build: service {service.name!r} has no build section",
                hint=f"set {variable}={_PREBUILT}, or write a build section",
            )
        return Choice("build", variable, commit=service.source.commit if service.source else "")
    if kind == "prebuilt" and equals:
        if not IMAGE.fullmatch(rest):
            raise ConfigError(f"{variable}={value}: {rest!r} is no image with a tag; {_PREBUILT} was needed")
        return Choice("prebuilt", variable, rest)
    if kind == "archive" and rest:
        return Choice("archive", variable, archive=Path.cwd() / rest)
    raise ConfigError(
        f"{variable}={value}: valid are {', '.join(_VALID)}{nearest(kind, ('build', 'prebuilt', 'archive', 'skip'))}"
    )


def _by_table(subject: Subject, variable: str) -> Choice:
    if subject.kind == "prebuilt":
        return Choice("prebuilt", variable, subject.image)
    if subject.kind == "archive":
        return Choice("archive", variable, archive=subject.archive)
    if subject.kind == "declared":
        return Choice("declared", variable)
    return Choice("build", variable, commit=subject.commit)


def with_subjects(tree: Tree, subjects: Mapping[str, Subject], repositories: Path) -> Tree:
    """Return a tree whose services know where their images come from, and are built as their subjects' tables say.

    Args:
        tree: as its files have it.
        subjects: the tables.
        repositories: folder of repositories.
    """
    if not subjects:
        return tree

    def sourced(service: Service) -> Service:
        subject = subjects.get(service.settings.subject or service.name)
        if subject is None:
            return service
        changed: dict[str, object] = {"source": subject}
        if subject.section:
            changed["compose"] = {**service.compose, "build": section_of(subject, repositories)}
        return service.model_copy(update=changed)

    stacks = [
        stack.model_copy(
            update={"services": tuple(map(sourced, stack.services)), "idle": tuple(map(sourced, stack.idle))}
        )
        for stack in tree.stacks
    ]
    return tree.model_copy(update={"stacks": tuple(stacks)})


def section_of(subject: Subject, repositories: Path) -> dict[str, object]:
    """Return the build section of a subject, its context a whole path."""
    section = dict(subject.section)
    if subject.git:
        section["context"] = str(folder_of(subject, repositories) / section["context"])
    return section
