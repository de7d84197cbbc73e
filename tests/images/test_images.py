"""Images: which one a service runs, how it is got, what a build is told, and the base image. No engine is needed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT

from harness.config.subjects import Subject
from harness.docker_sdk import APIError, ImageNotFound
from harness.errors import BrokenStack, ConfigError
from harness.images import (
    Choice,
    build_arguments,
    build_error,
    builder,
    choose,
    choose_base,
    dockerfile_of,
    ensure_base,
    ensure_image,
    find_base,
    make_base,
    variable_of,
)
from harness.images.base import Recipe, check_host, mounts_below, only_in, read_certificates, remove_tree
from harness.images.making import base_argument
from harness.images.names import plain
from harness.runs.images import images_of
from harness.stack import Service, Stack, Tree
from harness.stack.model import ServiceSettings

DEFAULT = "debian:bookworm-slim"
VALID = "valid are build, prebuilt=NAME:TAG, archive=PATH, skip"


class Engine:
    """An engine that has ``images`` (name -> seconds since the epoch), and a registry that answers with ``events``."""

    def __init__(self, *images: str, events: Any = (), brings: str = "") -> None:
        self.there = {name: 1000 + number for number, name in enumerate(images)}
        self.events = events
        self.brings = brings
        self.pulled: list[str] = []

    def inspect_image(self, image: str) -> dict[str, str]:
        if image != image.lower():
            raise APIError("400", explanation="invalid reference format: repository name must be lowercase")
        if image not in self.there:
            raise ImageNotFound("no such image")
        return {"Id": f"sha256:{self.there[image]}"}

    def images(self, name: str) -> list[dict[str, Any]]:
        return [
            {"RepoTags": [tag], "Created": made}
            for tag, made in self.there.items()
            if plain(tag) == name or plain(tag).startswith(f"{name}:")
        ]

    def pull(self, name: str, *, tag: str, stream: bool, decode: bool) -> Any:
        assert stream
        assert decode
        self.pulled.append(f"{name}:{tag}")
        if isinstance(self.events, Exception):
            raise self.events
        if isinstance(self.events, threading.Event):
            self.events.wait(30)
            return
        yield from self.events
        if self.brings:
            self.there[self.brings] = 2000


def a_service(
    name: str = "kafka", *, subject: str | None = None, settings: bool = True, build: Any = None, **table: Any
) -> Service:
    """Return a service with x-harness, unless ``settings`` is false."""
    return Service(
        name=name,
        has_settings=settings,
        settings=ServiceSettings(subject=subject),
        compose=table | ({"build": build} if build else {}),
    )


def an_image(folder: Path, text: str, **section: Any) -> Service:
    """Return a service that is built from a Dockerfile with ``text``."""
    (folder / "Dockerfile").write_text(text)
    return a_service(build={"context": str(folder), "dockerfile": "Dockerfile", **section})


# -- which image a service runs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "subject", "variable"),
    [
        ("kafka", None, "KAFKA_CONTAINER"),
        ("kafka", "broker", "BROKER_CONTAINER"),
        ("file-writer.2", None, "FILE_WRITER_2_CONTAINER"),
    ],
)
def test_the_variable_is_named_for_the_subject_or_else_the_service(
    name: str, subject: str | None, variable: str
) -> None:
    """The subject's name must win, and what no variable can contain must become an underscore."""
    assert variable_of(a_service(name, subject=subject)) == variable


@pytest.mark.parametrize(
    ("environ", "choice"),
    [
        ({}, Choice("declared", "KAFKA_CONTAINER")),
        ({"KAFKA_CONTAINER": ""}, Choice("declared", "KAFKA_CONTAINER")),
        ({"KAFKA_CONTAINER": "build"}, Choice("build", "KAFKA_CONTAINER")),
        ({"KAFKA_CONTAINER": "skip"}, Choice("skip", "KAFKA_CONTAINER")),
        ({"KAFKA_CONTAINER": "prebuilt=a/kafka:4"}, Choice("prebuilt", "KAFKA_CONTAINER", "a/kafka:4")),
        (
            {"KAFKA_CONTAINER": "prebuilt=h.example:5000/k:4"},
            Choice("prebuilt", "KAFKA_CONTAINER", "h.example:5000/k:4"),
        ),
        ({"KAFKA_CONTAINER": "prebuilt=k@sha256:0af"}, Choice("prebuilt", "KAFKA_CONTAINER", "k@sha256:0af")),
        ({"KAFKA_CONTAINER": "archive=/a/k=1.tar"}, Choice("archive", "KAFKA_CONTAINER", archive=Path("/a/k=1.tar"))),
        ({"kafka_container": "skip"}, Choice("declared", "KAFKA_CONTAINER")),
    ],
)
def test_the_variable_chooses_the_image(environ: dict[str, str], choice: Choice) -> None:
    """Each valid value must be taken as it was meant, and nothing set must leave the file's word."""
    assert choose(a_service(build={"context": "."}), environ) == choice


def subject_with(*synonyms: str) -> Service:
    """Return a service of a subject whose image other variables choose, too."""
    source = Subject("kafka", "declared", "pyproject.toml", synonyms=synonyms)
    return a_service(build={"context": "."}).model_copy(update={"source": source})


def test_a_synonym_chooses_as_the_variable_does_and_is_named() -> None:
    """Who sets the old name must get what it says, and be told of that name."""
    service = subject_with("KAFKA_INTEROP", "BROKER")
    assert choose(service, {}) == Choice("declared", "KAFKA_CONTAINER")
    assert choose(service, {"BROKER": "skip"}) == Choice("skip", "BROKER")
    assert choose(service, {"KAFKA_CONTAINER": "", "BROKER": "build"}) == Choice("build", "BROKER")
    assert choose(service, {"KAFKA_CONTAINER": "build", "BROKER": "build"}) == Choice("build", "KAFKA_CONTAINER")
    with pytest.raises(ConfigError, match="KAFKA_INTEROP=x: valid are build, prebuilt=NAME:TAG, archive=PATH, skip"):
        choose(service, {"KAFKA_INTEROP": "x"})


def test_a_synonym_that_says_something_else_is_refused() -> None:
    """Two variables for one image that differ must be an error which shows both."""
    with pytest.raises(ConfigError, match="KAFKA_CONTAINER=skip and BROKER=build: they mean the same, and differ"):
        choose(subject_with("BROKER"), {"KAFKA_CONTAINER": "skip", "BROKER": "build"})


def test_a_service_without_x_harness_runs_what_its_file_declares() -> None:
    """No variable may touch a service that says nothing to harness."""
    assert choose(a_service(settings=False), {"KAFKA_CONTAINER": "skip"}) == Choice("declared")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            "biuld",
            f"KAFKA_CONTAINER=biuld: {VALID}; did you mean 'build'?",
        ),
        (
            "prebuild=a:1",
            f"KAFKA_CONTAINER=prebuild=a:1: {VALID}; did you mean 'prebuilt'?",
        ),
        (
            "Skip ",
            f"KAFKA_CONTAINER=Skip : {VALID}; did you mean 'skip'?",
        ),
        (
            "prebuilt",
            f"KAFKA_CONTAINER=prebuilt: {VALID}; did you mean 'prebuilt'?",
        ),
        ("prebuilt=", "KAFKA_CONTAINER=prebuilt=: '' is no image with a tag; prebuilt=NAME:TAG was needed"),
        (
            "prebuilt=kafka",
            "KAFKA_CONTAINER=prebuilt=kafka: 'kafka' is no image with a tag; prebuilt=NAME:TAG was needed",
        ),
        (
            "prebuilt=h.example:5000/k",
            (
                "KAFKA_CONTAINER=prebuilt=h.example:5000/k: 'h.example:5000/k' is no image with a tag; "
                "prebuilt=NAME:TAG was needed"
            ),
        ),
    ],
)
def test_any_other_value_is_refused_with_the_valid_ones(value: str, said: str) -> None:
    """The error must name variable and value, and what would be valid."""
    with pytest.raises(ConfigError) as caught:
        choose(a_service(build={"context": "."}), {"KAFKA_CONTAINER": value})
    assert caught.value.summary == said


def test_what_has_no_build_section_cannot_be_built() -> None:
    """The error must come before anything is started."""
    with pytest.raises(ConfigError, match="KAFKA_CONTAINER=build: service 'kafka' has no build section"):
        choose(a_service(), {"KAFKA_CONTAINER": "build"})


# -- images that are there, or can be pulled -------------------------------------------------------------------------


def test_an_image_that_is_there_is_not_pulled() -> None:
    """Its id must be returned without a word to a registry."""
    engine: Any = Engine("kafka:4")
    assert ensure_image(engine, "kafka:4", service="kafka", variable="") == "sha256:1000"
    assert engine.pulled == []


def test_a_missing_image_is_pulled_once() -> None:
    """It must be there afterwards, with the tag latest when none was written."""
    engine: Any = Engine(events=[{"status": "Pulling"}, {"status": "Done"}], brings="kafka")
    assert ensure_image(engine, "kafka", service="kafka", variable="") == "sha256:2000"
    assert engine.pulled == ["kafka:latest"]


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (APIError("500", explanation="dial tcp: no such host"), "dial tcp: no such host"),
        ([{"status": "Pulling"}, {"error": "manifest unknown"}], "manifest unknown"),
    ],
)
def test_a_pull_that_fails_is_told_in_the_engines_words(events: Any, words: str) -> None:
    """The first line must name service and image, the next step the variable; and it must be tried once."""
    engine: Any = Engine(events=events)
    with pytest.raises(BrokenStack) as caught:
        ensure_image(engine, "a/kafka:4", service="kafka", variable="KAFKA_CONTAINER")
    assert str(caught.value).splitlines() == [
        "Service 'kafka': image 'a/kafka:4' is not on the engine and could not be pulled",
        words,
        (
            "next: docker load an archive that has a/kafka:4, or set KAFKA_CONTAINER=prebuilt=NAME:TAG "
            "to an image that the engine has"
        ),
    ]
    assert (caught.value.service, engine.pulled) == ("kafka", ["a/kafka:4"])


def test_a_registry_that_does_not_answer_ends_the_wait() -> None:
    """Silence must end at the limit for the first answer, not at that of the whole pull."""
    silent = threading.Event()
    engine: Any = Engine(events=silent)
    with pytest.raises(BrokenStack) as caught:
        ensure_image(engine, "a/kafka:4", service="kafka", variable="", within=0.05)
    silent.set()
    assert caught.value.details == ("no answer of the registry in 0.05 s",)


def test_with_pull_never_no_registry_is_asked() -> None:
    """The error must say that pulling is off, and without a variable name none."""
    engine: Any = Engine()
    with pytest.raises(BrokenStack, match="is not on the engine, and pulling is switched off") as caught:
        ensure_image(engine, "a/kafka:4", service="kafka", variable="", pull="never")
    assert engine.pulled == []
    assert caught.value.hint == "docker load an archive that has a/kafka:4"


def test_a_name_that_the_engine_refuses_is_a_broken_stack() -> None:
    """Errors of the SDK must not reach the user as they are."""
    engine: Any = Engine()
    with pytest.raises(BrokenStack, match="Image 'Kafka:4' was refused by the engine: invalid reference format"):
        ensure_image(engine, "Kafka:4", service="kafka", variable="")


# -- builders --------------------------------------------------------------------------------------------------------


def plugin(folder: Path, said: str, code: int = 0) -> Path:
    """Make a buildx plugin in ``folder`` that answers with ``said``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "docker-buildx"
    path.write_text(f"#!/bin/sh\n[ \"$*\" = version ] || exit 9\necho '{said}'\nexit {code}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("said", "kind", "reason"),
    [
        ("github.com/docker/buildx v0.29.1 abc1234", "buildkit", "is version 0.29"),
        ("github.com/docker/buildx v0.17.0 abc1234", "buildkit", "is version 0.17"),
        ("github.com/docker/buildx 1.0.0 abc1234", "buildkit", "is version 1.0"),
        ("github.com/docker/buildx 0.13.1+ds1-1 abc1234", "classic", "is version 0.13, 0.17 or later was needed"),
        ("what?", "classic", "does not say its version"),
    ],
)
def test_the_version_of_buildx_decides_the_builder(tmp_path: Path, said: str, kind: str, reason: str) -> None:
    """A version that Compose refuses must lead to the classic builder, with the reason."""
    path = plugin(tmp_path / "cli-plugins", said)
    found = builder({"DOCKER_CONFIG": str(tmp_path), "PATH": "/usr/bin:/bin"}, folders=())
    assert (found.kind, found.reason) == (kind, f"{path} {reason}")
    assert found.environment == ({} if kind == "buildkit" else {"DOCKER_BUILDKIT": "0"})


def test_without_buildx_the_classic_builder_builds(tmp_path: Path) -> None:
    """The environment must switch BuildKit off, or Compose would ask for the plugin."""
    found = builder({"HOME": str(tmp_path)}, folders=())
    assert (found.kind, found.reason) == ("classic", "no buildx plugin was found")
    assert found.environment == {"DOCKER_BUILDKIT": "0"}


def test_the_users_own_buildx_comes_before_the_systems(tmp_path: Path) -> None:
    """The order must be that of the Docker CLI."""
    own = plugin(tmp_path / ".docker" / "cli-plugins", "buildx v0.30.0 a")
    plugin(tmp_path / "system", "buildx v0.13.0 a")
    found = builder({"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, folders=[tmp_path / "system"])
    assert found.reason == f"{own} is version 0.30"


def test_a_buildx_that_cannot_run_is_no_builder(tmp_path: Path) -> None:
    """Neither one that fails nor one of another machine may end the run."""
    plugin(tmp_path / "cli-plugins", "buildx v0.30.0", code=3)
    environ = {"DOCKER_CONFIG": str(tmp_path), "PATH": "/usr/bin:/bin"}
    assert builder(environ, folders=()).kind == "classic"
    (tmp_path / "cli-plugins" / "docker-buildx").write_bytes(b"\x7fELF nothing")
    assert "cannot be run" in builder(environ, folders=()).reason


def test_who_switched_buildkit_off_gets_the_classic_builder(tmp_path: Path) -> None:
    """DOCKER_BUILDKIT=0 is the user's word."""
    plugin(tmp_path / "cli-plugins", "buildx v0.30.0 a")
    found = builder({"DOCKER_CONFIG": str(tmp_path), "DOCKER_BUILDKIT": "0"}, folders=())
    assert (found.kind, found.reason) == ("classic", "DOCKER_BUILDKIT=0 is set")


def test_podman_builds_by_itself(tmp_path: Path) -> None:
    """On Podman Compose must ask the engine to build, whatever plug-in there is: Podman has no BuildKit."""
    plugin(tmp_path / "cli-plugins", "buildx v0.30.0 a")
    found = builder({"DOCKER_CONFIG": str(tmp_path)}, is_podman=True, folders=())
    assert (found.kind, found.environment) == ("podman", {"DOCKER_BUILDKIT": "0"})


# -- build arguments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "default"),
    [
        ("ARG BASE_IMAGE=debian:12\nFROM ${BASE_IMAGE}\n", "debian:12"),
        ('# x\n  arg A=1 BASE_IMAGE="debian:12"\nFROM $BASE_IMAGE\n', "debian:12"),
        ("ARG BASE_IMAGE\nFROM $BASE_IMAGE\n", ""),
        ("ARG OTHER_BASE_IMAGE=a\nFROM debian\n", None),
        ("# ARG BASE_IMAGE=a\nFROM debian\n", None),
    ],
)
def test_the_default_base_is_read_from_the_dockerfile(tmp_path: Path, text: str, default: str | None) -> None:
    """Only a real declaration of that very argument must count."""
    (tmp_path / "Dockerfile").write_text(text)
    assert base_argument(tmp_path / "Dockerfile") == default


def test_the_base_is_given_to_a_dockerfile_that_takes_it(tmp_path: Path) -> None:
    """BASE_IMAGE must be added where it is declared, and nowhere else."""
    takes = an_image(tmp_path, "ARG BASE_IMAGE=a\nFROM $BASE_IMAGE\n")
    assert build_arguments(takes, {}, "ours:1") == {"BASE_IMAGE": "ours:1"}
    assert build_arguments(takes, {}, None) == {}
    assert build_arguments(an_image(tmp_path, "FROM debian\n"), {}, "ours:1") == {}


@pytest.mark.parametrize("args", [{"BASE_IMAGE": "theirs:1"}, ["BASE_IMAGE=theirs:1"]])
def test_arguments_in_the_file_are_left_alone(tmp_path: Path, args: Any) -> None:
    """What the file gives must not be replaced, in either of Compose's two forms."""
    own = an_image(tmp_path, "ARG BASE_IMAGE=a\nFROM $BASE_IMAGE\n", args=args)
    assert build_arguments(own, {"http_proxy": "http://p:1"}, "ours:1") == {"http_proxy": "http://p:1"}


def test_only_proxies_that_are_set_reach_a_build(tmp_path: Path) -> None:
    """Proxy variables must come in the case they have, empty ones and all others not at all."""
    environ = {"HTTPS_PROXY": "http://p:1", "no_proxy": "x", "HTTP_PROXY": "", "SECRET": "s"}
    assert build_arguments(an_image(tmp_path, "FROM debian\n"), environ, None) == {
        "HTTPS_PROXY": "http://p:1",
        "no_proxy": "x",
    }


def test_what_is_not_built_gets_no_arguments() -> None:
    """A build section must not appear where there was none."""
    assert build_arguments(a_service(), {"HTTP_PROXY": "http://p:1"}, "ours:1") == {}


def test_a_dockerfile_that_is_not_here_is_none(tmp_path: Path) -> None:
    """Inline ones and those of other machines must not be taken for files."""
    assert dockerfile_of(a_service()) is None
    assert dockerfile_of(a_service(build={"context": "https://example.invalid/x.git"})) is None
    assert dockerfile_of(an_image(tmp_path, "", dockerfile_inline="FROM debian")) is None
    assert dockerfile_of(an_image(tmp_path, "")) == tmp_path / "Dockerfile"


@pytest.mark.parametrize(
    "folder",
    [
        "images/kafka",
        "images/opensearch",
        "images/ioc",
        "integration_tests/forwarder/subject",
        "integration_tests/search/subject",
        "integration_tests/search/tests",
        "integration_tests/platform/pynode",
    ],
)
def test_our_own_dockerfiles_take_a_base(folder: str) -> None:
    """Without it they could not be built where no registry is reached."""
    text = (ROOT / folder / "Dockerfile").read_text()
    assert base_argument(ROOT / folder / "Dockerfile") == DEFAULT
    assert {line for line in text.splitlines() if line.startswith("FROM ")} <= {
        "FROM ${BASE_IMAGE}",
        "FROM ${BASE_IMAGE} AS jars",
        "FROM ${BASE_IMAGE} AS venv",
        "FROM ${BASE_IMAGE} AS base",
        "FROM base AS test",
        "FROM base",
    }


# -- which base ------------------------------------------------------------------------------------------------------


@pytest.fixture
def dockerfile(tmp_path: Path) -> Path:
    """A Dockerfile whose default base is ``DEFAULT``."""
    path = tmp_path / "Dockerfile"
    path.write_text(f"ARG BASE_IMAGE={DEFAULT}\nFROM $BASE_IMAGE\n")
    return path


@pytest.mark.parametrize(
    ("environ", "images", "base"),
    [
        ({"HARNESS_BASE_IMAGE": "mine:1"}, (DEFAULT, "harness-base:a"), "mine:1"),
        ({}, (DEFAULT, "harness-base:a"), None),
        ({}, ("harness-base:old", "harness-base:new", "other:1"), "harness-base:new"),
    ],
)
def test_the_base_is_asked_for_then_the_default_then_ours(
    environ: dict[str, str], images: tuple[str, ...], base: str | None, dockerfile: Path
) -> None:
    """The user's word comes first, then the Dockerfile's own default, then our newest; no registry is asked."""
    engine: Any = Engine(*images)
    assert choose_base(engine, environ, dockerfile=dockerfile) == base
    assert engine.pulled == []


def test_the_default_base_is_pulled_when_something_is_built_on_it(dockerfile: Path) -> None:
    """Who decides what is built must not pull it: the image may be there. Who builds pulls it once."""
    engine: Any = Engine(events=[{"status": "Pulling"}], brings=DEFAULT)
    assert choose_base(engine, {}, dockerfile=dockerfile) is None
    assert engine.pulled == []
    ensure_base(engine, DEFAULT, dockerfile=str(dockerfile))
    ensure_base(engine, DEFAULT, dockerfile=str(dockerfile))
    assert engine.pulled == [DEFAULT]


def test_images_are_decided_about_where_no_base_is_to_be_had(dockerfile: Path) -> None:
    """With HARNESS_BUILD=never, or where images are there, a base that nobody has must keep nothing from starting."""
    engine: Any = Engine(events=APIError("500", explanation="no such host"))
    service = a_service("web", build={"context": str(dockerfile.parent), "dockerfile": "Dockerfile"})
    stack = Stack(name="s", files=(dockerfile.parent / "s.yaml",), services=(service,))
    images = images_of(Tree(stacks=(stack,)), stack, {"HARNESS_BUILD": "never"}, engine)
    assert (images["web"].builds, images["web"].arguments, engine.pulled) == (True, {}, [])


def test_without_any_base_the_next_step_is_to_make_one(dockerfile: Path) -> None:
    """The error must have the engine's words and name the task."""
    engine: Any = Engine(events=APIError("500", explanation="no such host"))
    with pytest.raises(BrokenStack) as caught:
        ensure_base(engine, DEFAULT, dockerfile=str(dockerfile))
    assert f"base image '{DEFAULT}' is not on the engine and could not be pulled" in caught.value.summary
    assert caught.value.details == ("no such host",)
    assert caught.value.hint.startswith("`harness images.base` makes one from Debian packages")


def test_a_base_without_default_is_not_pulled(dockerfile: Path) -> None:
    """There is nothing to ask a registry for."""
    dockerfile.write_text("ARG BASE_IMAGE\nFROM $BASE_IMAGE\n")
    engine: Any = Engine()
    assert choose_base(engine, {}, dockerfile=dockerfile) is None
    with pytest.raises(BrokenStack):
        ensure_base(engine, "", dockerfile=str(dockerfile))
    assert engine.pulled == []


def test_a_dockerfile_without_that_argument_needs_no_base(tmp_path: Path) -> None:
    """Even HARNESS_BASE_IMAGE is not for it."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    engine: Any = Engine()
    assert choose_base(engine, {"HARNESS_BASE_IMAGE": "mine:1"}, dockerfile=tmp_path / "Dockerfile") is None


def test_a_failed_build_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    """The first line must name who, how it ended and where the log is; blank lines must not take places."""
    log = tmp_path / "build.log"
    log.write_text("".join(f"line {number}\n" for number in range(40)) + "\n")
    error = build_error("forwarder", log, 17)
    assert isinstance(error, BrokenStack)
    assert error.summary == f"The image of service 'forwarder' could not be built: exit code 17 ({log})"
    assert (error.details[0], error.details[-1], error.service) == ("line 25", "line 39", "forwarder")
    assert "services 'a', 'b' could not be built: no end in time" in build_error(["a", "b"], log, None).summary


BY_BUILDX = """\
#5 [2/2] RUN x
#5 0.214 the cause
#5 ERROR: process "/bin/sh -c x" did not complete successfully: exit code: 3
------
 > [2/2] RUN x:
0.214 the cause
------
Dockerfile:2
--------------------
   1 |     FROM a
   2 | >>> RUN x
   3 |     COPY a /a
   4 |     COPY b /b
   5 |     COPY c /c
   6 |
--------------------
failed to solve: process "/bin/sh -c x" did not complete successfully: exit code: 3
"""
BY_ENGINE = """\
#5 [2/2] RUN x
#5 0.0 the cause
#4 CACHED
ERROR: failed to solve: executor failed running [/bin/sh -c x]: exit code: 3
"""
CLASSIC = """\
Step 2/2 : RUN x
 ---> Running in 0123456789ab
the cause
The command 'x' returned a non-zero code: 3
"""


@pytest.mark.parametrize("log", [BY_BUILDX, BY_ENGINE, CLASSIC])
def test_what_a_failed_command_said_is_the_cause(tmp_path: Path, log: str) -> None:
    """The command's own words must be told of each builder's log, not what the builder shows around them."""
    path = tmp_path / "build.log"
    path.write_text(log)
    assert build_error("web", path, 17).summary.startswith("The image of service 'web' could not be built: the cause (")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (["sh: 1: makee: not found", 'building at STEP "RUN makee": while running runtime: exit status 127'], "makee"),
        (["one", "two", 'building at STEP "RUN x": while running runtime: exit status 3'], "two"),
        (
            ['building at STEP "COPY a /a": checking on sources under "/ctx": copier: stat: "/a": no such file'],
            "/a is not in the build context",
        ),
    ],
)
def test_what_podman_says_of_a_failed_build_is_understood(tmp_path: Path, said: list[str], why: str) -> None:
    """The reason must be the failed command's own word, not that of who ran it, nor a step's title."""
    log = tmp_path / "build.log"
    log.write_text("\n".join(["STEP 1/2: FROM x", "--> 0123456789ab", "[2/2] STEP 2/2: RUN error", *said, ""]))
    assert why in build_error("web", log, 17).summary


@pytest.mark.parametrize(
    "said",
    [
        "the --mount option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/",
        'failed to parse platform : "" is an invalid component of "": platform specifier component must match',
        "dockerfile parse error line 3: unknown instruction: <<EOF",
        "dockerfile parse error line 2: Unknown flag: link",
    ],
)
def test_a_dockerfile_that_needs_buildkit_is_told_so(tmp_path: Path, said: str) -> None:
    """Where the classic builder does not understand a Dockerfile, the error must say what is needed, and what next."""
    log = tmp_path / "build.log"
    log.write_text(f"Step 1/2 : FROM x\n{said}\n")
    error = build_error("web", log, 17)
    assert error.summary.startswith("The image of service 'web' could not be built: it needs BuildKit: ")
    assert error.hint.startswith("install buildx 0.17 or later")
    assert "BuildKit" not in build_error("web", tmp_path / "none", 17).summary


# -- the base image --------------------------------------------------------------------------------------------------

PEM = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----"
FIRST, SECOND = PEM.format("Zmlyc3Q="), PEM.format("c2Vjb25k")


def test_the_tag_changes_with_all_that_the_image_is_made_of() -> None:
    """Suite, packages and certificates must count; the order of the last two must not."""
    recipe = Recipe("bookworm", ("a", "b"), (FIRST, SECOND))
    assert recipe.tag == Recipe("bookworm", ("b", "a"), (SECOND, FIRST, FIRST)).tag
    others = {
        Recipe("trixie", ("a", "b"), (FIRST, SECOND)).tag,
        Recipe("bookworm", ("a",), (FIRST, SECOND)).tag,
        Recipe("bookworm", ("a", "b"), (FIRST,)).tag,
    }
    assert len(others | {recipe.tag}) == 4
    assert recipe.tag == f"harness-base:{recipe.digest}"


def test_only_certificates_that_debian_lacks_are_added() -> None:
    """The same certificate in other line breaks must count as the same; a damaged one must not be taken."""
    broken = PEM.format("abc")
    assert list(only_in([FIRST, SECOND, broken], [PEM.format("Zmly\nc3Q=")]).values()) == [SECOND]


def test_the_bundle_is_the_one_that_the_environment_names(tmp_path: Path) -> None:
    """SSL_CERT_FILE must be read, and one that cannot be read must be an error that names it."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(f"a comment\n{FIRST}\n{SECOND}\n")
    assert read_certificates({"SSL_CERT_FILE": str(bundle)}) == (FIRST, SECOND)
    with pytest.raises(ConfigError, match=r"SSL_CERT_FILE .*none cannot be read: No such file"):
        read_certificates({"SSL_CERT_FILE": str(tmp_path / "none")})


def test_a_base_that_exists_is_not_made_again(tmp_path: Path) -> None:
    """It must be named, and nothing else be done: this machine may not even have debootstrap."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(FIRST)
    tag = Recipe("bookworm", ("ca-certificates",), (FIRST,)).tag
    engine: Any = Engine(tag)
    said: list[str] = []
    assert make_base(engine, said.append, environ={"SSL_CERT_FILE": str(bundle), "PATH": "/nowhere"}) == tag
    assert said == [f"{tag} exists already (bookworm, 1 certificates)"]


@pytest.mark.parametrize("suite", ["--foreign", "../x", "Bookworm", ""])
def test_what_is_no_suite_never_reaches_debootstrap(suite: str) -> None:
    """A word that debootstrap could take for an option or a path must be refused."""
    engine: Any = Engine()
    with pytest.raises(ConfigError, match="is no name of a Debian release"):
        make_base(engine, lambda _: None, environ={}, suite=suite)


def test_who_cannot_make_a_base_is_told_what_to_do() -> None:
    """Missing debootstrap must name the package, another user than root the other way."""
    with pytest.raises(ConfigError) as missing:
        check_host(0, None)
    assert missing.value.hint == "apt-get install debootstrap"
    with pytest.raises(ConfigError, match=r"made by root only .* this is user 1000") as user:
        check_host(1000, "/usr/sbin/debootstrap")
    assert "HARNESS_BASE_IMAGE" in user.value.hint
    check_host(0, "/usr/sbin/debootstrap")


def test_the_newest_base_is_found() -> None:
    """With several the last made must be taken, with none None."""
    some: Any = Engine("harness-base:b", "harness-base:a", "debian:12")
    none: Any = Engine("debian:12")
    assert find_base(some) == "harness-base:a"
    assert find_base(none) is None


def test_a_base_is_found_under_the_name_that_podman_gives_it() -> None:
    """Podman's names have a registry: a base must be found by what it is called, and be called what Podman calls it."""
    podman: Any = Engine("localhost/harness-base:old", "docker.io/library/harness-base:new", "quay.io/harness-base:x")
    assert find_base(podman) == "docker.io/library/harness-base:new"
    assert [plain(name) for name in ("localhost/a/b:1", "docker.io/a/b:1", "docker.io/library/a:1")] == [
        "a/b:1",
        "a/b:1",
        "a:1",
    ]
    assert plain("registry.test/library/a:1") == "registry.test/library/a:1"


def test_mounts_below_a_folder_are_found_deepest_first() -> None:
    r"""Mount points must be compared by path, not by letters, with \040 read as a blank."""
    table = "".join(
        f"{number} 1 0:1 / {point} rw - proc proc rw\n"
        for number, point in enumerate(["/", "/tmp/ab/proc", "/tmp/a", "/tmp/a/root/proc", r"/tmp/a/b\040c"])
    )
    assert mounts_below(Path("/tmp/a"), table) == ["/tmp/a/root/proc", "/tmp/a/b c", "/tmp/a"]


def test_a_scratch_folder_is_removed_whole(tmp_path: Path) -> None:
    """Nothing may be left of it, and links in it must not be followed."""
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    (folder / "root").mkdir(parents=True)
    (folder / "root" / "link").symlink_to(outside)
    said: list[str] = []
    remove_tree(folder, said.append)
    assert (folder.exists(), outside.is_dir(), said) == (False, True, [])
