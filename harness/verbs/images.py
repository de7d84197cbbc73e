"""Images between engines: saved to an archive, and loaded from one."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.daemon import Api, connect, find_daemon
from harness.engine.compose.driver import Compose
from harness.engine.compose.plan import NAME
from harness.errors import ConfigError, nearest
from harness.images import ensure_image, image_id
from harness.images.records import by_content
from harness.runs.building import build_images, explain_images
from harness.runs.choice import choose
from harness.runs.images import images_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from harness.config import Settings
    from harness.engine import Image
    from harness.images.archives import Contents, Loaded


def save(
    settings: Settings, say: Callable[[str], None], file: str, *, subjects: Sequence[str], images: Sequence[str]
) -> Contents:
    """Write images to an archive, as ``archives.save`` does; those of subjects are built or pulled first.

    Args:
        settings: of the command.
        say: takes lines for people.
        file: the archive.
        subjects: subjects or services of the chosen stack; with ``images`` empty too, all of its services.
        images: names of images that the engine has.

    Raises:
        ConfigError: there is no such subject or image.
    """
    from harness.images import archives  # noqa: PLC0415 - what it stands on is for this command only

    path = Path(file)
    archives.check_writable(path)  # before anything is built
    wanted = dict(_of_services(settings, say, subjects)) if subjects or not images else {}
    daemon = find_daemon(settings.environ)
    with closing(connect(daemon)) as client:
        for service, (name, variable) in wanted.items():
            ensure_image(client, name, service=service, variable=variable)
        names = dict.fromkeys([*(name for name, _ in wanted.values()), *images])
        ids = {name: image_id(client, name) for name in names}
    missing = [name for name, digest in ids.items() if digest is None]
    if missing:
        raise ConfigError(f"Image {missing[0]!r} is not on the engine", hint="build or pull it first")
    say(f"saving {', '.join(names)} to {path}")
    return archives.save(Api(daemon), {name: digest for name, digest in ids.items() if digest}, path)


def save_all(settings: Settings, say: Callable[[str], None], file: str) -> Contents:
    """Write every image that is built for a system to an archive, after building it, for the same checkout elsewhere.

    Of all systems, or of the one that the command line names. Each goes by the name that says what it is made of as
    well, and with what it stands on: where the archive is loaded nothing is built.

    Raises:
        ConfigError: nothing is built; or as ``save`` does.
    """
    from harness.images import archives  # noqa: PLC0415 - as above

    archives.check_writable(Path(file))  # before anything is built
    names: dict[str, None] = {}
    bases: dict[str, None] = {}
    asked = settings.origins["system"] == "command line"
    for system in (settings.system,) if asked else settings.systems or (None,):
        stacks = list(dict.fromkeys(name for name in (system.default, *system.stacks) if name)) if system else [""]
        for stack in stacks:
            # Where a suite runs inside it is in the default stack.
            inside = system.inside if system and stack == system.default else ""
            choice = choose(replace(settings, system=system, stack=stack, inside=inside))
            tree = choice.read(choice.settings.default_stack())
            if not any(service.compose.get("build") for one in tree.stacks for service in one.services):
                continue
            if not inside and isinstance(choice.engine, Compose) and choice.engine.elsewhere:
                say(f"stack {tree.root.name!r} is left out: on an engine elsewhere only what --inside runs is started")
                continue
            names |= dict.fromkeys(build_images(choice, say).values())
            for standing in explain_images(choice, say):
                # What is built here is among the others, whatever its Dockerfile calls it.
                bases |= dict.fromkeys(standing.bases_from_elsewhere)
                if standing.ingredients.fingerprint:
                    names[by_content(standing.image, standing.ingredients.fingerprint)] = None
    if not names:
        raise ConfigError("Nothing is built for any system, so there is nothing to save")
    return save(settings, say, file, subjects=(), images=[*names, *_there(settings, say, bases)])


def _there(settings: Settings, say: Callable[[str], None], bases: Iterable[str]) -> list[str]:
    """Return those of base images that the engine has: what was built on others may be there without them."""
    with closing(connect(find_daemon(settings.environ))) as client:
        absent = [base for base in bases if image_id(client, base) is None]
    for base in absent:
        say(
            f"warning: base image {base!r} is not on the engine and is left out: where the archive is loaded, what "
            "stands on it is built anew unless images.lock has its id"
        )
    return [base for base in bases if base not in absent]


def _of_services(
    settings: Settings, say: Callable[[str], None], subjects: Sequence[str]
) -> Mapping[str, tuple[str, str]]:
    """Return service -> its image and the variable that would choose another, after building those that are built."""
    choice = choose(settings)
    tree = choice.read(settings.default_stack())
    services = [service for stack in tree.stacks for service in stack.services]
    known = {name for service in services for name in (service.name, service.settings.subject) if name}
    for subject in subjects:
        if subject not in known:
            raise ConfigError(
                f"No service of stack {tree.root.name!r} is called {subject!r} or has it as its subject; there are: "
                f"{', '.join(sorted(known))}{nearest(subject, known)}"
            )
    if choice.engine.name != NAME:
        raise ConfigError(
            f"Engine {choice.engine.name!r} has no images ({choice.why}); {NAME!r} was needed",
            hint=f"give --engine {NAME}",
        )
    choice.check(tree)
    decided: dict[str, Image] = {}
    for stack in tree.stacks:
        decided |= images_of(tree, stack, settings.environ, None)
    wanted = [service for service in services if not subjects or {service.name, service.settings.subject} & {*subjects}]
    images = {service.name: (decided[service.name].name, decided[service.name].variable) for service in wanted}
    names = subjects or [""]
    for subject in names:
        mine = [service for service in wanted if subject in ("", service.name, service.settings.subject)]
        if any(decided[service.name].builds for service in mine):
            images |= {name: (image, "") for name, image in build_images(choice, say, subject=subject).items()}
    return images


def load(settings: Settings, file: str) -> list[Loaded]:
    """Have the engine have the images of an archive, as ``archives.load`` does."""
    from harness.images import archives  # noqa: PLC0415 - as above

    archives.describe(Path(file))
    with closing(connect(find_daemon(settings.environ))) as client:
        return archives.load(client, Path(file))
