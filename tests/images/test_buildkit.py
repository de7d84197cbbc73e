"""Dockerfiles that need BuildKit: built by it where it can be had, with or without buildx, else told line by line."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from projects import run_in

from harness.engine.compose.building import why_not
from harness.engine.plan import Recipe
from harness.images import Builder, Builds, builds_of
from harness.images.dockerfiles import Need
from harness.images.through_engine import lines_of, parameters_of, plain
from harness.runs import running

if TYPE_CHECKING:
    from containers import Dock

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
HEREDOCS = 23  # the first engine whose own BuildKit knows them
CACHED = """\
ARG BASE
FROM $BASE
RUN --mount=type=cache,target=/cache echo kept >> /cache/word && cat /cache/word > /word
COPY --chmod=640 word /copied
"""
HEREDOC = """\
ARG BASE
FROM $BASE
RUN <<EOF
echo "a $WORD" > /word
EOF
COPY <<EOF /copied
it is $BASE
EOF
"""


class Engine:
    """An engine that says what it is."""

    def __init__(self, version: str, api: str, part: str = "Engine") -> None:
        self.facts = {"Version": version, "ApiVersion": api, "Components": [{"Name": part}]}

    def version(self) -> dict[str, Any]:
        return self.facts


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        (Engine("20.10.24", "1.41"), ("engine 20.10.24", True, False, False)),
        (Engine("28.5.2", "1.51"), ("engine 28.5.2", True, True, False)),
        (Engine("18.06", "1.38"), ("engine 18.06", False, False, False)),
        (Engine("5.4.2", "1.41", "Podman Engine"), ("Podman 5.4.2", False, False, True)),
    ],
)
def test_what_an_engine_builds_by_is_known(engine: Any, expected: tuple[str, bool, bool, bool]) -> None:
    """An engine that is old must be known to have no BuildKit, and Podman to need none."""
    found = builds_of(engine)
    assert (found.name, found.by_buildkit, found.heredocs, found.all_words) == expected


def test_a_section_becomes_parameters_of_the_engine() -> None:
    """What a file says of a build must reach the engine as its API has it."""
    section = {"context": ".", "target": "t", "network": "none", "shm_size": "64", "no_cache": True, "args": {"A": "1"}}
    assert parameters_of({**section, "extra_hosts": ["a=10.0.0.1", "b:::1"], "platforms": ["linux/amd64"]}) == {
        "target": "t",
        "networkmode": "none",
        "shmsize": "64",
        "nocache": "1",
        "extrahosts": "a:10.0.0.1,b:::1",
        "platform": "linux/amd64",
    }


OLD, NEW = Builds("engine 20.10", by_buildkit=True), Builds("engine 28", by_buildkit=True, heredocs=True)
NONE = Builder("classic", "no buildx plugin was found")


@pytest.mark.parametrize(
    ("recipe", "how", "engine", "why"),
    [
        (Recipe("x", need=Need(1, "RUN --mount")), NONE, OLD, ""),
        (Recipe("x", need=Need(1, "RUN <<EOF")), NONE, NEW, ""),
        (Recipe("x", need=Need(1, "RUN <<EOF")), NONE, OLD, "engine 20.10 knows no here-documents, that of engine 23"),
        (Recipe("x", need=Need(1, "RUN --mount"), of_client=("ssh",)), NONE, NEW, "without one there is no ssh in a"),
        (Recipe("x", need=Need(1, "RUN --mount")), NONE, Builds("engine 17", by_buildkit=False), "engine 17 has none"),
        (Recipe("x", need=Need(1, "RUN --mount")), replace(NONE, is_chosen=True), NEW, "no buildx plugin was found"),
    ],
)
def test_why_an_engine_cannot_build_is_known_before(recipe: Recipe, how: Builder, engine: Builds, why: str) -> None:
    """What the BuildKit of an engine cannot do for an image must be known before it is asked, and nothing else."""
    told = why_not(recipe, how, engine)
    assert (why in told, bool(told)) == (True, bool(why))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# syntax=docker/dockerfile:1.7\nFROM a", "#\nFROM a"),
        ("# escape=`\n#syntax = docker.io/docker/dockerfile\nFROM a", "# escape=`\n#\nFROM a"),
        ("# syntax=me/own:1\nFROM a", "# syntax=me/own:1\nFROM a"),
        ("FROM a\n# syntax=docker/dockerfile:1", "FROM a\n# syntax=docker/dockerfile:1"),
    ],
)
def test_the_engines_own_frontend_is_used(text: str, expected: str) -> None:
    """A common frontend must not be fetched from a registry, another one must be, and every line stays in its place."""
    assert plain(text) == expected


def test_what_buildkit_says_becomes_lines() -> None:
    """Steps must be told once, with what their commands say, and other fields be passed over."""

    def field(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value

    vertex = field(1, field(1, b"digest") + field(3, "RUN é".encode()) + field(5, b"time"))
    cached = field(1, field(1, b"other") + field(3, b"COPY") + bytes([4 << 3, 1]))
    text = field(3, field(1, b"digest") + bytes([3 << 3, 0x81, 0x01]) + field(4, b"one\ntwo\n"))
    other = bytes([9 << 3 | 1]) + bytes(8) + bytes([10 << 3 | 5]) + bytes(4) + field(2, b"")
    numbers: dict[bytes, int] = {}
    assert list(lines_of(vertex + cached + other, numbers)) == ["#1 RUN é", "#2 COPY", "#2 CACHED"]
    assert list(lines_of(vertex + text, numbers)) == ["#1 0.0 one", "#1 0.0 two"]


def needy(dock: Dock, dockerfile: str, **build: Any) -> None:
    """Make a stack of one service with this Dockerfile."""
    (dock.root / "word").write_text("copied\n")
    (dock.root / "Dockerfile").write_text(dockerfile)
    section = {"context": "..", "args": {"BASE": dock.image, "WORD": "word"}, **build}
    dock.stack("s", {"web": dock.up(image=f"somebody/{dock.checkout}:1", build=section)})


def read(dock: Dock, *argv: str) -> list[str]:
    """Bring the stack up; return what commands in its service say."""
    with running(dock.run()) as run:
        stack = run.bring("s")
        return [stack.service("web").exec(["sh", "-c", words]).stdout for words in argv]


@pytest.fixture
def version(dock: Dock) -> int:
    """The major version of an engine that has BuildKit."""
    if not builds_of(dock.client).by_buildkit:
        pytest.skip(f"{builds_of(dock.client).name} has no BuildKit")
    return int(str(dock.client.version()["Version"]).partition(".")[0])


@pytest.mark.usefixtures("version")
def test_a_build_that_needs_buildkit_is_built_by_it(dock: Dock) -> None:
    """Cache mounts and modes of copies must work on every engine with BuildKit, whether buildx is there or not."""
    needy(dock, CACHED)
    assert read(dock, "cat /word", "stat -c %a /copied; cat /copied") == ["kept\n", "640\ncopied\n"]
    labelled = dock.client.images(filters={"label": f"harness.checkout={dock.checkout}"})
    assert [tag.partition(":")[0] for image in labelled for tag in image["RepoTags"]] == ["harness-build/s/web"]


def test_here_documents_are_built_by_engines_that_know_them(dock: Dock, version: int) -> None:
    """Here-documents must work, with arguments put in, where the engine's BuildKit knows them."""
    needy(dock, HEREDOC.replace("FROM $BASE", "FROM $BASE\nARG WORD BASE"))
    if version < HEREDOCS:
        pytest.skip(f"the BuildKit of engine {version} knows no here-documents, {HEREDOCS} or later was needed")
    assert read(dock, "cat /word", "cat /copied") == ["a word\n", f"it is {dock.image}\n"]


@pytest.mark.usefixtures("version")
def test_a_failed_step_of_buildkit_is_told_by_its_own_words(dock: Dock) -> None:
    """A command that fails must be told by what it said, whoever builds."""
    needy(dock, "ARG BASE\nFROM $BASE\nRUN --mount=type=cache,target=/c echo the cause is this; exit 3\n")
    done = run_in(dock, *HARNESS, "build", timeout=120)
    assert (done.code, "'web' could not be built: Dockerfile:3: the cause is this" in done.stderr) == (12, True), (
        done.stderr
    )


def test_without_buildkit_the_line_that_needs_it_is_told(dock: Dock) -> None:
    """Where a user has switched BuildKit off, what needs it must be told with its line before anything is built."""
    needy(dock, CACHED)
    dock.environ["DOCKER_BUILDKIT"] = "0"
    done = run_in(dock, *HARNESS, "build", timeout=120)
    told = "'web' could not be built: it needs BuildKit: line 3 (RUN --mount) of Dockerfile; "
    assert (done.code, told in done.stderr) == (12, True), done.stderr
    assert "unset DOCKER_BUILDKIT" in done.stderr
