"""What was observed of a service becomes a sentence with its cause; nothing is started for that."""

from __future__ import annotations

from typing import Any

import pytest

from harness.readiness.reasons import Seen, Variables, how_ended, unknown_host, why_ended, why_not_ready
from harness.refusals import missing_for_good, missing_program, why_not_started
from harness.sockets import Listener

REFUSED = "127.16.0.2:8080/: Connection refused"
ELSEWHERE = (Listener("127.0.0.1", 8000), Listener("::", 9000))
NAMES = Variables({"DATABASE_URL": "postgres://u:p@bd:5432/x"}, frozenset({"db"}))
LOOKUP = ('could not translate host name "bd" to address: Name or service not known',)


def seen(**facts: Any) -> Seen:
    """Return a service whose port 8080 refuses."""
    return Seen(**{"kind": "http", "observation": REFUSED, "host": "127.16.0.2", "port": 8080, **facts})


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({}, REFUSED),
        ({"listening": None}, REFUSED),
        ({"listening": ()}, f"{REFUSED}; it listens on no port"),
        ({"listening": ELSEWHERE}, "nothing listens on 8080; it listens on 127.0.0.1:8000, [::]:9000"),
        (
            {"listening": (Listener("127.0.0.1", 8080),)},
            "it listens on 127.0.0.1:8080 only, 127.16.0.2:8080 was needed",
        ),
        (
            {"listening": (Listener("127.0.0.1", 8080),), "contained": True},
            "it listens on 127.0.0.1:8080 only, which nobody outside its container can reach; 0.0.0.0:8080 was needed",
        ),
        ({"listening": (Listener("172.18.0.2", 8080),), "contained": True}, REFUSED),
        ({"listening": (Listener("0.0.0.0", 8080),)}, REFUSED),  # noqa: S104 - a value
        ({"listening": (), "log": ("fatal: no disk",)}, f"fatal: no disk; {REFUSED}; it listens on no port"),
        ({"log": LOOKUP, "variables": NAMES}, f"DATABASE_URL names 'bd'; there is 'db'; {REFUSED}"),
        ({"observation": "/: status 503", "log": ("fatal: no disk",)}, "/: status 503"),
        ({"observation": "/x: status 404, 200 was needed"}, "/x: status 404 every time (wrong path?), 200 was needed"),
        ({"observation": "/x: status 404", "history": ("1 s http /x: /x: status 503",)}, "/x: status 404"),
        ({"kind": "healthy", "checks": ("exit code 1: a\nno db",)}, "its healthcheck fails with exit code 1: no db"),
        ({"kind": "healthy", "checks": ("exit code 1: ",)}, "its healthcheck fails with exit code 1: it says nothing"),
        (
            {"kind": "healthy", "checks": ('exit code -1: exec: "curl": executable file not found in $PATH',)},
            "its healthcheck cannot be run: there is no 'curl'",
        ),
        (
            {"kind": "healthy", "checks": ("exit code -1: Health check exceeded timeout (1s)",)},
            "its healthcheck does not end in its time",
        ),
        ({"kind": "log", "observation": "no line"}, "no line: it wrote nothing"),
        ({"kind": "log", "observation": "no line", "log": ("up",)}, "no line; its last line is 'up'"),
        (
            {"kind": "exec", "observation": "a: No such file or directory"},
            "its probe cannot be run: there is no 'a' where it runs",
        ),
        ({"kind": "python", "observation": ""}, "no probe answered"),
    ],
)
def test_what_is_seen_is_said(facts: dict[str, Any], sentence: str) -> None:
    """Each kind of observation must give the sentence that names its cause."""
    assert why_not_ready(seen(**facts)).sentence == sentence


@pytest.mark.parametrize(
    ("text", "log", "says"),
    [
        ("http://bd:80", (), "X names 'bd'; there is 'db'"),
        ("u@bd:5432", (), ""),
        ("bd:9092,other.example:1", (), "X names 'bd'; there is 'db'"),
        ("bd", (), ""),
        ("http://db:80", (), ""),
        ("http://localhost:80", (), ""),
        ("http://search:80", (), ""),
        ("http://search:80", ("getaddrinfo ENOTFOUND search",), "X names 'search', which is no service; there are: db"),
        ("http://mirror.example.org/bd", (), ""),
        ("12:34:56", (), ""),
    ],
)
def test_a_name_that_nobody_has_is_told(text: str, log: tuple[str, ...], says: str) -> None:
    """A host that is nearly called as a service is, or that cannot be resolved, must be told; no other."""
    assert unknown_host(Variables({"X": text}, frozenset({"db"})), log) == says


def test_a_host_under_its_key_is_a_name_too() -> None:
    """A plain word must count as a host under a key that says so, unless it is another name of something."""
    assert unknown_host(Variables({"DB_HOST": "bd"}, frozenset({"db"}))) == "DB_HOST names 'bd'; there is 'db'"
    assert unknown_host(Variables({"DB_HOST": "bd"}, frozenset({"db"}), frozenset({"bd"}))) == ""


def test_an_end_is_explained_by_its_name_before_what_followed_from_it() -> None:
    """A wrong name must be the reason when resolving it failed, and else what the program said."""
    assert why_ended(LOOKUP, NAMES) == "DATABASE_URL names 'bd'; there is 'db'"
    assert why_ended(("fatal: no disk",), NAMES) == "fatal: no disk"
    assert why_ended(("fatal: http://u:secret@h refused",)) == "fatal: http://...@h refused"
    assert why_ended(()) == ""


@pytest.mark.parametrize(
    ("code", "contained", "words"),
    [
        (3, True, "exit code 3"),
        (137, True, "signal 9 (SIGKILL)"),
        (139, True, "signal 11 (SIGSEGV)"),
        (139, False, "exit code 139 (SIGSEGV)"),
        (-9, False, "signal 9 (SIGKILL)"),
        (127, False, "exit code 127 (command not found)"),
        (255, True, "exit code 255"),
    ],
)
def test_an_exit_code_is_told_in_words(code: int, contained: bool, words: str) -> None:
    """A signal must be told by its name, also where only 128 + N tells it."""
    assert how_ended(code, contained=contained) == words


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            'Error response from daemon: failed to create shim task: exec: "/x": stat /x: no such file or directory',
            "there is no program '/x' in its image",
        ),
        (
            'OCI runtime create failed: exec: "/x": permission denied: unknown',
            "'/x' in its image cannot be executed (permission denied)",
        ),
        ("listen tcp4 127.0.0.1:80: bind: address already in use", "its port 127.0.0.1:80 is taken by somebody else"),
        (
            "Error response from daemon: unable to find user x: no matching entries",
            "unable to find user x: no matching entries",
        ),
        (
            "crun: executable file `x` not found in $PATH: No such file or directory: OCI runtime attempted",
            "there is no program 'x' in its image",
        ),
        (
            "subnet 10.88.0.0/16 is already used on the host or by another config",
            "a subnet in its file overlaps with that of another network on this engine, maybe another environment's",
        ),
        (
            'the engine refused: workdir "/x" exists on container 0123, but is not a directory',
            "there is no folder '/x', its working_dir, in its image",
        ),
        ("the engine refused: crun: out of luck", "out of luck"),
        ("Exec format error: ./a", "exec format error: its program is for another kind of machine, or has no #! line"),
    ],
)
def test_what_an_engine_refuses_is_told_plainly(words: str, says: str) -> None:
    """What an engine says must become the cause, without the chain of those that passed it on."""
    assert why_not_started(words) == says


def test_a_missing_program_is_told_from_other_errors() -> None:
    """Only a program that is not there must be called missing."""
    assert missing_program("sh: 1: psqll: not found") == "psqll"
    assert missing_program("exit code 1: relation x does not exist") == ""
    assert missing_program("exit code 1: key: not found") == ""


@pytest.mark.parametrize(
    ("line", "said", "program"),
    [
        (
            "curl -f x",
            'exit code -1: OCI runtime exec failed: exec: "curl": executable file not found in $PATH',
            "curl",
        ),
        ("curl -f x || exit 1", "exit code 1: /bin/sh: 1: curl: not found", "curl"),
        ("curl -f x || false", "/bin/sh: curl: not found", "curl"),
        ("curl -f x", "exit code 127: bash: line 1: curl: command not found", "curl"),
        ("curl -f x || wget x", "exit code 1: /bin/sh: 1: curl: not found", ""),
        ("if curl -f x; then true; fi", "/bin/sh: 1: curl: not found", ""),
        ("pg_isready -q", "pg_isready: No such file or directory", "pg_isready"),
        ("fetch x", "exit code 1: error: not found", ""),
        ("/opt/check.sh", "/bin/sh: 1: /opt/check.sh: not found", ""),
        ("curl -f x", "exit code 22: The requested URL returned error: 404 not found", ""),
    ],
)
def test_a_missing_program_is_told_from_other_failures(line: str, said: str, program: str) -> None:
    """Only words of an engine or a shell that name a program without which nothing can succeed must count."""
    assert missing_for_good(line, said) == program
