"""What the image of a service is made of now: its Dockerfile, arguments, folders, and the images that it stands on."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.daemon import in_words
from harness.errors import nearest
from harness.folders import ignore_list
from harness.images import BASE_ARGUMENT, image_id
from harness.images.base import NAME as BASE
from harness.images.bases import text_of
from harness.images.contexts import Held, look
from harness.images.dockerfiles import adds_from_afar, declared_arguments, familiar, references
from harness.images.fingerprint import Ingredients, digest
from harness.images.making import PROXY_VARIABLES, default_base
from harness.images.names import plain
from harness.ownership.objects import BUILT, CHECKOUT, CHECKOUT_PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.docker_sdk import APIClient
    from harness.engine.plan import Recipe

_COMMIT = re.compile(r"#[0-9a-f]{40}(?::|$)")
# Keys of a build that do not decide what comes out of it, and those that are told otherwise here.
_NO_MATTER = frozenset(["cache_from", "cache_to", "pull", "no_cache", "secrets", "ssh", "provenance", "sbom"])
_TOLD = frozenset(["context", "dockerfile", "dockerfile_inline", "args", "additional_contexts", "labels"])

_PREDEFINED = frozenset([*PROXY_VARIABLES, "ALL_PROXY", "all_proxy", "FTP_PROXY", "ftp_proxy"])


def ingredients_of(
    recipe: Recipe,
    client: APIClient,
    environ: Mapping[str, str],
    made_here: Callable[[str], str | None] = lambda _: "",
) -> Ingredients:
    """Return what an image is made of.

    Args:
        recipe: how it is built.
        client: of the engine that has the images that it stands on.
        environ: variables of the build: values of arguments, and where the cache folder is.
        made_here: returns what stands for an image by its name where that is built here, and so is told by what it is
            made of and not by its id: "" where that is not known, None where it is nothing certain.

    Raises:
        HarnessError: the engine does not answer.
    """
    section = recipe.section
    doubts = [f"{key}: true" for key in ("no_cache", "pull") if section.get(key)]
    given = {name: environ.get(name) if value is None else str(value) for name, value in _arguments(section).items()}
    arguments = {name: value for name, value in given.items() if value is not None and name not in PROXY_VARIABLES}
    text = recipe.written
    if text is None:
        doubts.append("its Dockerfile is not on this machine")
    elif line := adds_from_afar(text, arguments):
        doubts.append(f"line {line} adds what is not on this machine")

    def id_of(name: str) -> str | None:
        stands = made_here(name)
        return image_id(client, name) if stands == "" else stands

    if text is not None and not recipe.is_inline and recipe.source and _is_changed(Path(recipe.source), text):
        doubts.append("its Dockerfile is being changed")
    contexts = _contexts(recipe, environ, doubts)
    bases = _bases(recipe, arguments, id_of, doubts) if text is not None else {}
    unread = [path for held in contexts.values() for path in held.unread]
    doubts += [f"{path} cannot be read" for path in unread[:1]]
    return Ingredients(
        lines=tuple(map(digest, text.removesuffix("\n").split("\n"))) if text else (),
        arguments={name: digest(value) for name, value in arguments.items()},
        bases=bases,
        settings=_settings(recipe),
        contexts=contexts,
        doubts=tuple(doubts),
    )


def _is_changed(dockerfile: Path, text: str) -> bool:
    """Return whether a Dockerfile is another one than was read before: some builders read it again."""
    try:
        return text_of(dockerfile) != text
    except OSError:
        return True


def _arguments(section: Mapping[str, Any]) -> dict[str, Any]:
    return dict(section.get("args") or {})


def undeclared_told(service: str, recipe: Recipe) -> list[str]:
    """Say which arguments a file gives to a build whose Dockerfile knows nothing of them: builders pass them over."""
    if recipe.written is None:
        return []
    known = declared_arguments(recipe.written)
    return [
        f"warning: service {service!r}: {recipe.source} declares no build argument {name!r} (ARG {name}), so that it "
        f"changes nothing{nearest(name, known)}"
        for name in _arguments(recipe.section)
        if name not in known and name not in _PREDEFINED and not name.startswith("BUILDKIT_")
    ]


def _settings(recipe: Recipe) -> dict[str, str]:
    section = {key: value for key, value in recipe.section.items() if key not in _NO_MATTER | _TOLD and value}
    labels = recipe.section.get("labels") or {}
    own = {name: value for name, value in dict(labels).items() if name not in (BUILT, CHECKOUT, CHECKOUT_PATH)}
    table = {**section, "labels": own, "platform": recipe.platform}
    settings = {key: json.dumps(value, sort_keys=True) for key, value in table.items() if value}
    if recipe.ignored is not None:  # both lists may leave out the file that it is
        settings["its Dockerfile's own .dockerignore"] = digest(recipe.ignored)
    return settings


def _contexts(recipe: Recipe, environ: Mapping[str, str], doubts: list[str]) -> dict[str, Held]:
    named = {"": str(recipe.section.get("context") or "")}
    others = recipe.section.get("additional_contexts") or {}
    named |= {str(name): str(value) for name, value in dict(others).items()}
    found = {}
    for name, place in named.items():
        folder = Path(place)
        if place.startswith(("service:", "docker-image://")):
            continue  # a base
        if folder.is_absolute() and folder.is_dir():
            # A context of another name has no list of its own that Compose would read.
            besides = _besides(recipe, folder, name)
            # The classic builder goes by the folder's list alone, others by the Dockerfile's own where there is one.
            own = recipe.ignored if place == recipe.section.get("context") else None
            found[name] = look(folder, ignore_list(folder), environ, besides=besides, other=own)
        elif _COMMIT.search(place):
            found[name] = Held(digest(place), list_files=partial(dict, {place: "commit"}))
        else:
            doubts.append(f"{place or 'its context'} is no folder on this machine")
    return found


def _besides(recipe: Recipe, folder: Path, name: str) -> tuple[str, ...]:
    """Return the Dockerfile, whose lines are told by themselves."""
    path = Path(recipe.source)
    is_there = not name and not recipe.is_inline and path.is_relative_to(folder)
    return (str(path.relative_to(folder)),) if is_there else ()


def _bases(
    recipe: Recipe, arguments: Mapping[str, str], id_of: Callable[[str], str | None], doubts: list[str]
) -> dict[str, str]:
    assert recipe.written is not None  # the caller looked
    folders = {familiar(str(name)) for name in recipe.section.get("additional_contexts") or {}}
    bases: dict[str, str] = {}
    for reference in references(recipe.written, arguments, str(recipe.section.get("target") or "")):
        meant = recipe.stands.get(reference.name)
        if reference.is_stage or reference.name == "scratch" or (not meant and familiar(reference.name) in folders):
            continue
        with in_words(f"Image {meant or reference.name!r}"):
            there = id_of(meant or reference.name)
        bases[reference.name] = there or ""
        if there is None:
            doubts.append(_absent(reference.name))
    return bases


def _absent(base: str) -> str:
    return f"its base image {base} is not on the engine"


def remembered(made_of: Ingredients, recipe: Recipe, known: Mapping[str, str]) -> Ingredients | None:
    """Return what an image is made of when base images that are not on the engine are those that were known before.

    Args:
        made_of: what it is made of as far as the engine has it.
        recipe: how it is built.
        known: image as the Dockerfile names it -> the id that it had.

    Returns:
        None where the engine has all of them, there are other doubts, or one was not known.
    """
    absent = {name for name, there in made_of.bases.items() if not there}
    if not absent or set(made_of.doubts) != set(map(_absent, absent)) or absent & recipe.stands.keys():
        return None
    bases, arguments = dict(made_of.bases), dict(made_of.arguments)
    default = default_base(recipe.written or "")
    ours = [name for name in known if plain(name).startswith(f"{BASE}:")]
    if default and default in absent and not known.get(default) and BASE_ARGUMENT not in arguments and len(ours) == 1:
        # It was built on a base of ours, which is gone, and where there is none no argument names it.
        absent.remove(default)
        del bases[default]
        bases[ours[0]], arguments[BASE_ARGUMENT] = known[ours[0]], digest(ours[0])
    bases |= {name: known.get(name, "") for name in absent}
    return replace(made_of, bases=bases, arguments=arguments, doubts=()) if all(bases.values()) else None
