"""A build by the engine's own BuildKit, asked for through its API: a program, where no buildx is at hand.

A context is sent along, so that no session is needed; without one there are no secrets, no SSH, and no other contexts.
The engine tells of its steps in protocol buffers (BuildKit's ``StatusResponse``), of which little is needed here.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.folders import ignore_list
from harness.images.base import refusals
from harness.images.dockerfiles import references

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.docker_sdk import APIClient

VARIABLE = "HARNESS_BUILD"
_TRACE = "moby.buildkit.trace"
_SYNTAX = "docker/dockerfile"
_BYTES, _VERTEX, _LOG = 2, 1, 3  # a kind of field in protocol buffers; fields of StatusResponse
_DIGEST, _NAME, _CACHED, _LOG_VERTEX, _LOG_TEXT = 1, 3, 4, 1, 4
_LARGE_FIELDS = {1: 8, 5: 4}


@dataclass(frozen=True)
class Order:
    """What is to be built.

    Attributes:
        image: its name.
        context: the folder that is sent.
        dockerfile: the text of the Dockerfile.
        ignored: what a list of files for this Dockerfile says, None for the folder's own.
        arguments: build arguments; without a value they have that of the environment.
        labels: of the image.
        parameters: others of the engine's ``/build``.
    """

    image: str
    context: str
    dockerfile: str
    ignored: str | None = None
    arguments: Mapping[str, str | None] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """Return the variable that gives this to the program: values of arguments are in no file."""
        return {VARIABLE: json.dumps(asdict(self))}


def parameters_of(section: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters of the engine's ``/build`` that a section ``build`` comes to."""
    hosts = section.get("extra_hosts") or ()
    if isinstance(hosts, dict):
        hosts = [f"{name}:{address}" for name, address in hosts.items()]
    platforms: Sequence[str] = section.get("platforms") or ()
    wanted = {
        "target": section.get("target"),
        "networkmode": section.get("network"),
        "shmsize": section.get("shm_size"),
        "platform": platforms[0] if len(platforms) == 1 else None,
        "nocache": "1" if section.get("no_cache") else None,
        "extrahosts": ",".join(str(host).replace("=", ":", 1) for host in hosts),
    }
    return {name: str(value) for name, value in wanted.items() if value}


def plain(dockerfile: str) -> str:
    """Return a Dockerfile without its word for a common frontend: the engine has one, others come from a registry."""
    lines = dockerfile.split("\n")
    for number, line in enumerate(lines):
        if not line.strip().startswith("#"):
            break
        word, _, value = line.strip().lstrip("# ").partition("=")
        if word.strip().lower() == "syntax" and value.strip().partition(":")[0].removeprefix("docker.io/") == _SYNTAX:
            lines[number] = "#"
    return "\n".join(lines)


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Return the fields of a message in protocol buffers: number, and bytes or an integer."""
    at = 0

    def integer() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:  # noqa: PLR2004 - the encoding's own bit for "more"
                return value

    while at < len(message):
        key = integer()
        kind = key & 7
        if kind in _LARGE_FIELDS:
            at += _LARGE_FIELDS[kind]
        elif kind == _BYTES:
            size = integer()
            yield key >> 3, message[at : at + size]
            at += size
        else:
            yield key >> 3, integer()


def lines_of(trace: bytes, numbers: dict[bytes, int]) -> Iterator[str]:
    """Return what a message of BuildKit says, as lines; ``numbers`` is kept for one build."""
    for number, value in _fields(trace):
        if not isinstance(value, bytes):
            continue
        told = dict(_fields(value))
        if number == _VERTEX:
            digest = _bytes(told.get(_DIGEST))
            if digest not in numbers:
                numbers[digest] = len(numbers) + 1
                yield f"#{numbers[digest]} {_bytes(told.get(_NAME)).decode(errors='replace')}"
            if told.get(_CACHED):
                yield f"#{numbers[digest]} CACHED"
        elif number == _LOG:
            step = numbers.get(_bytes(told.get(_LOG_VERTEX)), 0)
            for line in _bytes(told.get(_LOG_TEXT)).decode(errors="replace").splitlines():
                yield f"#{step} 0.0 {line}"


def _bytes(value: bytes | int | None) -> bytes:
    return value if isinstance(value, bytes) else b""


def _context(order: Order) -> Any:  # noqa: ANN401 - a file of the SDK's making
    from harness.docker_sdk import tar  # noqa: PLC0415 - a quarter of a second, only where something is built

    text = ignore_list(Path(order.context)) if order.ignored is None else order.ignored
    lines = [line.strip() for line in text.splitlines()]
    excluded = [line for line in lines if line and not line.startswith("#")]
    # BuildKit takes what begins with the SDK's kind of header for a lone Dockerfile, unless it is packed.
    return tar(Path(order.context), exclude=excluded, dockerfile=(_name(order), plain(order.dockerfile)), gzip=True)


def _name(order: Order) -> str:
    return f".dockerfile.{order.image.partition('/')[2].replace(':', '.')}"


def _get_missing(client: APIClient, order: Order, arguments: Mapping[str, str]) -> None:
    """Get the images that a Dockerfile names: BuildKit itself would ask a session how to log in."""
    from harness.docker_sdk import DockerException, ImageNotFound  # noqa: PLC0415 - as above

    for reference in references(order.dockerfile, arguments, order.parameters.get("target", "")):
        if reference.is_stage or reference.name == "scratch":
            continue
        try:
            client.inspect_image(reference.name)  # type: ignore[no-untyped-call]
        except ImageNotFound:
            print(f"getting {reference.name}", flush=True)
            try:
                client.pull(reference.name)
            except DockerException as error:
                print(f"{reference.name}: {error}", flush=True)


def build(client: APIClient, order: Order, environ: Mapping[str, str]) -> Iterator[str]:
    """Build an image; return lines for people. Raises RuntimeError with the engine's words when it cannot be built."""
    given = {name: environ.get(name) if value is None else value for name, value in order.arguments.items()}
    arguments = {name: value for name, value in given.items() if value is not None}
    _get_missing(client, order, arguments)
    parameters = {
        **order.parameters,
        "version": "2",  # BuildKit
        "t": order.image,
        "dockerfile": _name(order),
        "buildargs": json.dumps(arguments),
        "labels": json.dumps(dict(order.labels)),
    }
    url = f"{client.base_url}/v{client.api_version}/build"
    with _context(order) as context:
        headers = {"Content-Type": "application/x-tar"}
        answer = client.post(url, params=parameters, data=context, headers=headers, stream=True, timeout=None)
    if not answer.ok:
        raise RuntimeError(answer.text.strip())
    numbers: dict[bytes, int] = {}
    for line in answer.iter_lines():
        event = json.loads(line)
        if "error" in event:
            raise RuntimeError(str(event["error"]))
        if event.get("id") == _TRACE:
            yield from lines_of(base64.b64decode(event["aux"]), numbers)


def main() -> int:
    """Build what the environment orders; return the program's exit code."""
    from harness.daemon import connect, find_daemon  # noqa: PLC0415 - as above

    order = Order(**json.loads(os.environ.pop(VARIABLE)))
    refused = refusals()
    try:
        with connect(find_daemon(os.environ), timeout=None) as client:
            for line in build(client, order, os.environ):
                print(line, flush=True)
    except refused as error:
        print(f"ERROR: failed to solve: {error}", flush=True)
        return 1
    except (RuntimeError, HarnessError, OSError) as error:
        print(f"ERROR: failed to solve: {error}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
