"""A build that failed is told with its Dockerfile, the line, and the image that could not be had."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import BrokenStack, ConfigError
from harness.images import Written, build_error
from harness.images.dockerfiles import miswritten

if TYPE_CHECKING:
    from pathlib import Path

TEXT = "FROM base:1\nRUN true\nRUN make \\\n  all\nCOPY a b\n"
WEB = Written("web", "app/Dockerfile", TEXT)
API = Written("api", "api/Dockerfile", "FROM base:1\nRUN false\n")

BUILDX = """\
#6 [web 3/4] RUN make all
#6 0.2 no rule
#6 ERROR: process "/bin/sh -c make   all" did not complete successfully: exit code: 2
------
Dockerfile:3
--------------------
   2 |     RUN true
   3 | >>> RUN make \\
   4 | >>>   all
   5 |     COPY a b
--------------------
target web: failed to solve: process "/bin/sh -c make   all" did not complete successfully: exit code: 2
"""
CLASSIC = """\
Step 3/4 : RUN make   all
 ---> Running in 0123456789ab
no rule
The command '/bin/sh -c make   all' returned a non-zero code: 2
 Image harness-build/s/api:build-1 Built
"""
ENGINE = """\
#6 [3/4] RUN make   all
#6 0.0 no rule
ERROR: failed to solve: executor failed running [/bin/sh -c make   all]: exit code: 2
"""
PODMAN = """\
STEP 3/4: RUN make   all
no rule
building at STEP "RUN make   all": while running runtime: exit status 2
"""


def error_of(tmp_path: Path, log: str, *written: Written) -> BrokenStack | ConfigError:
    path = tmp_path / "build.log"
    path.write_text(log)
    error = build_error([one.service for one in written], path, 17, written)
    assert isinstance(error, BrokenStack | ConfigError)
    return error


@pytest.mark.parametrize("log", [BUILDX, CLASSIC, ENGINE, PODMAN])
def test_the_line_of_the_command_that_failed_is_named(tmp_path: Path, log: str) -> None:
    """Each builder's log must lead to the one service and line, also when others were built beside it."""
    error = error_of(tmp_path, log, API, WEB)
    assert error.summary.startswith("The image of service 'web' could not be built: app/Dockerfile:3: no rule (")
    assert error.exit_code == 12


@pytest.mark.parametrize(
    "log",
    [
        "Error response from daemon: dockerfile parse error line 5: COPY requires at least two arguments\n",
        "failed to solve: dockerfile parse error on line 5: COPY requires at least two arguments\n",
        "ERROR: failed to create LLB definition: dockerfile parse error line 5: COPY requires at least two arguments\n",
    ],
)
def test_a_dockerfile_that_cannot_be_parsed_is_a_written_mistake(tmp_path: Path, log: str) -> None:
    """Whichever builder says it, it is code 10, with the line once."""
    error = error_of(tmp_path, log, WEB)
    assert error.summary.startswith(
        "The image of service 'web' could not be built: app/Dockerfile:5: COPY requires at least two arguments ("
    )
    assert error.exit_code == 10


@pytest.mark.parametrize(
    "log",
    [
        'Step 1/4 : FROM base:1\nGet "https://registry.invalid/v2/": dial tcp: lookup registry.invalid: no such host\n',
        "target web: failed to solve: base:1: failed to resolve source metadata for docker.io/library/base:1: denied\n",
        "Step 1/4 : FROM base:1\npull access denied for base, repository does not exist or may require login\n",
    ],
)
@pytest.mark.parametrize(
    ("base", "text", "hint"),
    [
        ("base:1", "FROM base:1\n", "docker load an archive that has base:1, or name an image that the engine has"),
        ("base:1", "ARG BASE_IMAGE=base:1\nFROM $BASE_IMAGE\n", "`harness images.base` makes one from Debian packages"),
        ("harness-base:1", "FROM harness-base:1\n", "`harness images.base` makes one from Debian packages and says"),
    ],
)
def test_a_base_that_could_not_be_had_is_named_with_the_next_step(
    tmp_path: Path, log: str, base: str, text: str, hint: str
) -> None:
    """The base, its line and what to do must be told, not only what a registry's client said."""
    error = error_of(tmp_path, log.replace("base:1", base), Written("web", "Dockerfile", text, absent=(base,)))
    line = text.count("\n")
    assert f": Dockerfile:{line}: base image '{base}' cannot be had (" in (error.summary)
    assert error.hint.startswith(hint)
    assert error.exit_code == 12


def test_an_absent_image_is_not_blamed_for_a_command_that_failed(tmp_path: Path) -> None:
    """A command may say the words of a registry's client itself."""
    log = CLASSIC.replace("no rule", 'Get "https://registry.invalid/v2/": no such host')
    error = error_of(tmp_path, log, Written("web", "app/Dockerfile", TEXT, absent=("base:1",)))
    assert "base image" not in error.summary
    assert "app/Dockerfile:3: " in error.summary


def test_what_a_log_does_not_tell_is_not_guessed(tmp_path: Path) -> None:
    """Two services and a command that neither Dockerfile has: no path, both services."""
    log = "The command '/bin/sh -c other' returned a non-zero code: 1\n"
    assert error_of(tmp_path, log, API, WEB).summary.startswith("The image of services 'api', 'web' could not be built")
    assert "Dockerfile" not in error_of(tmp_path, log, API, WEB).summary


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("FROM a\nRUNN x\n", (2, "unknown instruction 'RUNN'; did you mean 'RUN'?")),
        ("FROM a\nRUNN", (2, "unknown instruction 'RUNN'; did you mean 'RUN'?")),
        ("# only this\n", (1, "it has no instruction")),
        ("ARG A\n", (1, "it has no FROM")),
        ("ARG A\n\nRUN x\nFROM a\n", (3, "RUN comes before the first FROM")),
        ("FROM a\nRUN <<EOF\nWHATEVER x\nEOF\n", None),
        ("FROM a\nRUN x \\\n  MORE y\n", None),
        ("FROM a\nRUN x \\\n# a comment\n  MORE y\n", None),
        ("# escape=`\nFROM a\nRUN x `\n  MORE y\n", None),
        ("from a\nonbuild run x\nHealthcheck NONE\n", None),
        ("# syntax=docker/dockerfile:1\nFROM a\nRUNN x\n", (3, "unknown instruction 'RUNN'; did you mean 'RUN'?")),
        ("# syntax=example/own:1\nANYTHING goes\n", None),
    ],
)
def test_what_no_builder_understands_is_known_without_one(text: str, wrong: tuple[int, str] | None) -> None:
    """It must be told with its line before anything is created, and nothing else be taken for it."""
    assert miswritten(text) == wrong
