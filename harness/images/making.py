"""Images come to the engine: they are there, are pulled once, or are built. What a build needs to know is decided here.

The build itself is a child of whoever brings the stack up.
"""

from __future__ import annotations

import os
import queue
import re
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness import procs
from harness.clock import Deadline, poll
from harness.errors import BrokenStack
from harness.images.base import find_base, refusals
from harness.images.bases import dockerfile_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.docker_sdk import APIClient
    from harness.stack import Service

PULL_ANSWER = 10.0
PULL_BUDGET = 300.0
OLDEST_BUILDX = (0, 17)  # Compose 5 refuses older ones
PLUGIN = "docker-buildx"
HEREDOCS_API = (1, 42)  # of engine 23, whose BuildKit knows here-documents
BUILDKIT_API = (1, 39)  # the first that takes "version=2" at /build without being told that it is an experiment
# Where the Docker CLI looks for plugins, beside the user's own folder (its "cli-plugins/manager").
PLUGIN_FOLDERS = tuple(
    Path(folder, "docker/cli-plugins")
    for folder in ("/usr/local/lib", "/usr/local/libexec", "/usr/lib", "/usr/libexec")
)
BASE_ARGUMENT = "BASE_IMAGE"
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
PROXY_VARIABLES = (*_PROXIES, *(name.lower() for name in _PROXIES))
_VERSION_BUDGET = 10.0


# -- images that are there, or can be pulled -------------------------------------------------------------------------


def image_facts(client: APIClient, image: str) -> dict[str, Any] | None:
    """Return what the engine says of ``image``, or None when it is not there.

    Raises:
        BrokenStack: the engine does not take it for the name of an image.
    """
    from harness.docker_sdk import APIError, ImageNotFound  # noqa: PLC0415 - a quarter of a second, only with an engine

    try:
        facts: dict[str, Any] = client.inspect_image(image)  # type: ignore[no-untyped-call]
    except ImageNotFound:
        return None
    except APIError as error:
        raise BrokenStack(f"Image {image!r} was refused by the engine: {error.explanation or error}") from error
    return facts


def image_id(client: APIClient, image: str) -> str | None:
    """Return the id of ``image`` on the engine, or None when it is not there.

    Raises:
        BrokenStack: the engine does not take it for the name of an image.
    """
    facts = image_facts(client, image)
    return str(facts["Id"]) if facts else None


def ensure_image(
    client: APIClient,
    image: str,
    *,
    service: str,
    variable: str,
    pull: Literal["missing", "never"] = "missing",
    within: float = PULL_ANSWER,
) -> str:
    """Return the id of ``image``, after pulling it when the engine does not have it. It is tried once.

    Args:
        client: of the engine.
        image: its name.
        service: who needs it, for the error.
        variable: what would choose another image, "" for nothing.
        pull: whether it may be pulled.
        within: seconds for the registry's first answer.

    Raises:
        BrokenStack: it is not there and did not come; the error has the engine's own words.
    """
    if present := image_id(client, image):
        return present
    if pull == "never":
        raise _missing(image, service, variable, "is not on the engine, and pulling is switched off", ())
    words = _pull(client, image, within)
    if words:
        raise _missing(image, service, variable, "is not on the engine and could not be pulled", (words,))
    if pulled := image_id(client, image):
        return pulled
    raise _missing(image, service, variable, "was pulled and is not on the engine", ())


def _missing(image: str, service: str, variable: str, problem: str, details: Sequence[str]) -> BrokenStack:
    ways = [f"docker load an archive that has {image}"]
    if variable:
        ways.append(f"set {variable}=prebuilt=NAME:TAG to an image that the engine has")
    return BrokenStack(
        f"Service {service!r}: image {image!r} {problem}", service=service, details=details, hint=", or ".join(ways)
    )


class _Pull:
    """A pull in a thread, because the call cannot be given a limit for its first answer and none between later ones.

    One that is given up ends with the engine's own attempt, or with this process.
    """

    def __init__(self, client: APIClient, image: str) -> None:
        self.came = threading.Event()
        self.events: queue.SimpleQueue[dict[str, Any] | Exception | None] = queue.SimpleQueue()
        threading.Thread(target=self._follow, args=(client, image), name=f"pull {image}", daemon=True).start()

    def _follow(self, client: APIClient, image: str) -> None:
        from harness.docker_sdk import parse_repository_tag  # noqa: PLC0415 - as above

        name, tag = parse_repository_tag(image)
        try:
            for event in client.pull(name, tag=tag or "latest", stream=True, decode=True):
                self._tell(event)
            self._tell(None)
        except refusals() as error:
            self._tell(error)

    def _tell(self, event: dict[str, Any] | Exception | None) -> None:
        self.events.put(event)
        self.came.set()

    def result(self) -> str | None:
        """Return "" when the image came, why it did not, or None when that is not known yet."""
        while not self.events.empty():
            event = self.events.get()
            if event is None:
                return ""
            if isinstance(event, Exception):
                return str(getattr(event, "explanation", None) or event)
            if "error" in event:
                return str(event["error"])
        return None


def _pull(client: APIClient, image: str, within: float = PULL_ANSWER) -> str:
    """Pull ``image`` and return "", or the engine's words for why it did not come.

    The guards of this context end the wait, such as when the run is given up.
    """
    deadline, pull = Deadline.after(PULL_BUDGET), _Pull(client, image)
    for _ in poll(deadline.sooner(within), wake=pull.came):
        if not pull.events.empty():
            break
    else:
        return f"no answer of the registry in {within:g} s"
    for _ in poll(deadline, wake=pull.came):
        if (result := pull.result()) is not None:
            return result
    return f"pull not complete in {PULL_BUDGET:g} s"


# -- builds ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Builder:
    """What builds images.

    Attributes:
        kind: BuildKit, the classic builder of the engine, or Podman's, which is asked as the classic one is.
        reason: why this one, for people.
        environment: variables that make Compose use it.
        is_chosen: whether a variable of its user says so.
    """

    kind: Literal["buildkit", "classic", "podman"]
    reason: str
    environment: Mapping[str, str] = field(default_factory=dict)
    is_chosen: bool = False


def builder(
    environ: Mapping[str, str], *, is_podman: bool = False, folders: Sequence[Path] = PLUGIN_FOLDERS
) -> Builder:
    """Return what can build here: BuildKit needs the plugin buildx in a version that Compose takes, and not Podman."""
    if is_podman:
        return Builder("podman", "Podman builds by itself", {"DOCKER_BUILDKIT": "0"})
    if environ.get("DOCKER_BUILDKIT") == "0":
        return replace(_classic("DOCKER_BUILDKIT=0 is set"), is_chosen=True)
    own = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME", "/"), ".docker"), "cli-plugins")
    plugin = next((path for folder in (own, *folders) if os.access(path := folder / PLUGIN, os.X_OK)), None)
    if plugin is None:
        return _classic("no buildx plugin was found")
    try:
        answer = procs.run([str(plugin), "version"], timeout=_VERSION_BUDGET, env=environ)
    except OSError as error:
        return _classic(f"{plugin} cannot be run: {error.strerror}")
    match = re.search(r"\bv?(\d+)\.(\d+)", answer.stdout.partition(" ")[2]) if answer.code == 0 else None
    if match is None:
        return _classic(f"{plugin} does not say its version")
    version, oldest = f"{match[1]}.{match[2]}", ".".join(map(str, OLDEST_BUILDX))
    if (int(match[1]), int(match[2])) < OLDEST_BUILDX:
        return _classic(f"{plugin} is version {version}, {oldest} or later was needed")
    return Builder("buildkit", f"{plugin} is version {version}")


def _classic(reason: str) -> Builder:
    return Builder("classic", reason, {"DOCKER_BUILDKIT": "0"})


def base_argument(dockerfile: Path | None) -> str | None:
    """Return the default of ``ARG BASE_IMAGE`` in ``dockerfile``, "" without a default, None without that argument."""
    return None if dockerfile is None else default_base(dockerfile.read_text(encoding="utf-8", errors="replace"))


def default_base(text: str) -> str | None:
    """Return what ``base_argument`` does, of the text of a Dockerfile."""
    for line in re.findall(r"^[^\S\n]*ARG[^\S\n]+(.+)$", text, re.MULTILINE | re.IGNORECASE):
        for word in line.split():
            name, _, default = word.partition("=")
            if name == BASE_ARGUMENT:
                return str(default.strip("\"'"))
    return None


def build_arguments(service: Service, environ: Mapping[str, str], base: str | None) -> dict[str, str]:
    """Return the build arguments to add to the file's own: the base image, and proxies that are set."""
    section = service.compose.get("build")
    if not section:
        return {}
    written = section.get("args") or {}
    names = set(written) if isinstance(written, dict) else {str(item).partition("=")[0] for item in written}
    added = {name: environ[name] for name in PROXY_VARIABLES if environ.get(name)}
    if base and base_argument(dockerfile_of(service)) is not None:
        added[BASE_ARGUMENT] = base
    return {name: value for name, value in added.items() if name not in names}


def choose_base(client: APIClient, environ: Mapping[str, str], *, dockerfile: Path) -> str | None:
    """Return the base image to build ``dockerfile`` on; None for its own default.

    Nothing is pulled, and the engine may have none: whoever builds sees to it (``ensure_base``), and who finds that the
    image is there needs none.
    """
    default = base_argument(dockerfile)
    if default is None:
        return None
    if chosen := environ.get("HARNESS_BASE_IMAGE"):
        return chosen
    if default and image_id(client, default):
        return None
    return find_base(client)


def ensure_base(client: APIClient, default: str, *, dockerfile: str) -> None:
    """Have the engine have the default base of a Dockerfile that is built on it. It is pulled once.

    Args:
        client: of the engine.
        default: what ``default_base`` returns.
        dockerfile: whose it is, for people.

    Raises:
        BrokenStack: it is not there, and could not be pulled.
    """
    if default and image_id(client, default):
        return
    words = _pull(client, default) if default else "ARG BASE_IMAGE has no default"
    if not words:
        return
    raise BrokenStack(
        f"{dockerfile}: its base image {default or BASE_ARGUMENT!r} is not on the engine and could not be pulled",
        details=(words,),
        hint="`harness images.base` makes one from Debian packages; or set HARNESS_BASE_IMAGE to one the engine has",
    )


INSTALL_BUILDX = (
    f"install buildx {'.'.join(map(str, OLDEST_BUILDX))} or later, the Docker CLI's plugin docker-buildx; "
    "`harness doctor` says which builder is used"
)


@dataclass(frozen=True)
class Builds:
    """What an engine builds by when only its API is asked.

    Attributes:
        name: of the engine, for people.
        by_buildkit: whether by BuildKit, if it is asked to.
        heredocs: whether by one that knows here-documents.
        all_words: whether by a builder that takes BuildKit's words, whoever asks.
    """

    name: str
    by_buildkit: bool
    heredocs: bool = False
    all_words: bool = False


def builds_of(client: APIClient) -> Builds:
    """Return what an engine builds by. Raises what the SDK raises."""
    facts: dict[str, Any] = client.version()
    parts = [str(part.get("Name", "")) for part in facts.get("Components") or ()]
    version = str(facts.get("Version", "?"))
    if any("podman" in name.lower() for name in parts):
        return Builds(f"Podman {version}", by_buildkit=False, all_words=True)
    api = tuple(int(part) for part in re.findall(r"\d+", str(facts.get("ApiVersion", ""))))
    return Builds(f"engine {version}", by_buildkit=api >= BUILDKIT_API, heredocs=api >= HEREDOCS_API)
