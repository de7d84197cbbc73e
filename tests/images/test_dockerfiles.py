"""Dockerfiles as they are read: the images that they name, at their places, and what in them needs BuildKit."""

from __future__ import annotations

import pytest

from harness.images.dockerfiles import adds_from_afar, familiar, needs_buildkit, references, substituted


def images(text: str, target: str = "", **arguments: str) -> list[str]:
    """Return the names in ``text`` that are no stages, after checking that another name can take their places."""
    found = [one for one in references(text, arguments, target) if not one.is_stage]
    changed = substituted(text, dict.fromkeys(found, "NEW"))
    assert (changed.count("NEW"), changed.count("\n")) == (len(found), text.count("\n"))
    return [one.name for one in found]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("FROM base", ["base"]),
        ("from base:1 as x\nFROM x\nFROM X", ["base:1"]),
        ("FROM --platform=$BUILDPLATFORM base AS build\nFROM other\nCOPY --from=build /a /b", ["base", "other"]),
        ("FROM a\nCOPY --chown=1:1 --from=lib:2 /a /b\nCOPY --from=0 /x /y", ["a", "lib:2"]),
        ("FROM a\nRUN --mount=type=bind,from=tools,target=/t --mount=type=cache,target=/c x", ["a", "tools"]),
        ("ARG V=1\nARG B=base:$V\nFROM ${B}", ["base:1"]),
        ('ARG B="base:3" C=d\nFROM $B-$C', ["base:3-d"]),
        ("FROM ${NONE:-base}:${TAG-2}", ["base:2"]),
        ("FROM a\nARG B=inner\nFROM $B", ["a"]),
        ("# escape=`\nFROM `\n  base `\n  AS x\nCOPY --from=base C:\\ D", ["base", "base"]),
        ("FROM \\\n# a comment\n\n  base \\\n AS x\nRUN a \\\n  --from=no", ["base"]),
        ("FROM a\nRUN <<EOF\nFROM no\nCOPY --from=no / /\nEOF\nCOPY --from=yes / /", ["a", "yes"]),
        ("FROM a\nRUN echo $((1 << 2)) <<NEVER\nCOPY --from=yes / /", ["a", "yes"]),
        ("FROM a\nCOPY <<A <<-'B' /\nx\nA\n\tCOPY --from=no\n\tB\nONBUILD COPY --from=yes / /", ["a", "yes"]),
        ("FROM a\r\nCOPY --from=b / /\r\n", ["a", "b"]),
        ("FROM a\nRUN echo --from=b\n# FROM c\n", ["a"]),
    ],
)
def test_the_images_of_a_dockerfile_are_known(text: str, named: list[str]) -> None:
    """Every image that a Dockerfile names must be known, with arguments put in, and nothing that only looks so."""
    assert images(text) == named


def test_arguments_go_before_defaults() -> None:
    """A build argument must decide what an argument in FROM is, if it is declared there."""
    assert images("ARG B=base\nFROM $B", B="mine") == ["mine"]
    assert images("FROM x$B", B="mine") == ["x"]


@pytest.mark.parametrize(
    ("target", "named"), [("one", ["a"]), ("0", ["a"]), ("TWO", ["a", "b"]), ("", ["a", "b", "c"])]
)
def test_stages_after_the_target_are_not_built(target: str, named: list[str]) -> None:
    """What a stage after the one that is built needs must not count."""
    assert images("FROM a AS one\nFROM b AS two\nFROM c", target) == named


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a", "a:latest"),
        ("docker.io/library/a:1", "a:1"),
        ("index.docker.io/me/a", "me/a:latest"),
        ("localhost:5000/a", "localhost:5000/a:latest"),
        ("a@sha256:0", "a@sha256:0"),
    ],
)
def test_one_image_has_one_name(written: str, meant: str) -> None:
    """Ways to write the name of one image must come to the same."""
    assert familiar(written) == meant


@pytest.mark.parametrize(
    ("text", "need"),
    [
        ("FROM a\nRUN --mount=type=cache,target=/c x", "line 2 (RUN --mount)"),
        ("FROM a\n\nRUN \\\n  --network=none x", "line 3 (RUN --network)"),
        ("FROM a\nCOPY --from=b --chmod=644 a b", "line 2 (COPY --chmod)"),
        ("FROM a\nCOPY <<EOF /x\ntext\nEOF", "line 2 (COPY <<EOF)"),
        ("FROM a\nADD https://x.org/a.git /a", "line 2 (ADD https://x.org/a.git)"),
        ("FROM --platform=$BUILDPLATFORM a", "line 1 (FROM --platform=$BUILDPLATFORM)"),
        ("# syntax=docker/dockerfile:1\nFROM --platform=linux/amd64 a\nRUN echo --mount << x\nCOPY --from=b / /", None),
    ],
)
def test_what_needs_buildkit_is_known_by_its_line(text: str, need: str | None) -> None:
    """The first thing in a Dockerfile that the classic builder cannot do must be named with its line, else nothing."""
    found = needs_buildkit(text)
    assert (str(found) if found else None) == need


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("FROM a\nADD https://x/y /z", 2),
        ("FROM a\nadd --chown=1:1 HTTPS://x /z", 2),
        ('FROM a\nADD ["https://x/y", "/z"]', 2),
        ("FROM a\nADD a.txt https://x/y /z/", 2),
        ("FROM a\nADD \\\n  # where\n  https://x/y /z", 2),
        ("FROM a\nONBUILD ADD https://x /y", 2),
        ("FROM a\nADD git@x:a/b.git /z", 2),
        ("FROM a\nADD ssh://me@x/y.git /z", 2),
        ("ARG U=https://x\nFROM a\nARG U\nADD $U/y /z", 4),
        ('FROM a\nARG H=x\nENV U="https://$H"\nADD "${U}" /z', 4),
        ("FROM a\nENV U https://x\nADD $U /z", 3),
        ("FROM a\nARG U V=1\nADD $U /z", 3),
        ("FROM a\nARG S=https:\nADD $S//x /z", 3),
        ("FROM a\nARG FROM_OUTSIDE\nADD ${FROM_OUTSIDE} /z", 3),
        ("FROM a\nADD ${OF_BASE} /z", 2),
        ("FROM a\nADD ${U:-https://x} /z", 2),
        ("FROM a\nARG U=\nADD ${U:-${V}} /z", 3),
        ("FROM a\nADD --checksum=sha256:0 https://x/y /z", None),
        ("FROM a\nARG V=1\nADD app-${V}-$TARGETARCH.tar ./${V:-0}.txt $HOME/", None),
        ("FROM a\nCOPY <<EOF /x\nADD https://x /z\nEOF\n# ADD https://x /z\nRUN echo ADD https://x /z", None),
        ("FROM a\nADD <<EOF /x\nhttps://x\nEOF", None),
        ("FROM a\nADD a@b /x\nADD", None),
    ],
)
def test_what_is_added_from_elsewhere_is_known_by_its_line(text: str, line: int | None) -> None:
    """Whatever a builder asks a server for must be known, and nothing that lies in the context be taken for it."""
    assert adds_from_afar(text, {"OTHER": "https://x"}) == line


def test_an_argument_may_be_an_address() -> None:
    """A value that is given to a build must count as a default does."""
    text = "FROM a\nARG JAR=app.jar\nADD $JAR /app.jar"
    assert adds_from_afar(text, {"JAR": "other.jar"}) is None
    assert adds_from_afar(text, {"JAR": "https://x/app.jar"}) == 3
