"""No secret may be read in a notice."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest

from harness.notices.redaction import MARK, Redactor, secrets_in

SECRET = "Canary/7+x&y=9 z"


@pytest.mark.parametrize(
    "text",
    [
        f"it is {SECRET}.",
        f"url?x={quote(SECRET, safe='')}",
        f"in {json.dumps({'a': SECRET})}",
        f"<{base64.b64encode(SECRET.encode()).decode()}>",
        base64.b64encode(b"u:" + SECRET.encode()).decode(),
        base64.b64encode(b"us:" + SECRET.encode()).decode(),
    ],
)
def test_a_known_secret_is_found_in_any_form(text: str) -> None:
    """What is known to be secret must go, as it is, percent-encoded, as in JSON and as in base64."""
    clean = Redactor([SECRET]).clean(text)
    assert MARK in clean
    assert "Canary" not in clean
    assert base64.b64encode(SECRET.encode()).decode()[:12] not in clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("postgresql://app:hunter2x@db:5432/x", "postgresql://***@db:5432/x"),
        ("Authorization: Bearer abcdef.123456-xyz", "Authorization: Bearer ***"),
        ("password=hunter2 user=app", "password=*** user=app"),
        ("DB_PASSWORD: 'hunter 2', x", "DB_PASSWORD: ***, x"),
        ('{"api_key": "abc", "n": 1}', '{"api_key": ***, "n": 1}'),
        ("GET /x?token=abc&y=1", "GET /x?token=***&y=1"),
        ("a\n-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nb", "a\n***\nb"),
        ("-----BEGIN PRIVATE KEY-----\nMIIcut", "***"),
    ],
)
def test_what_looks_like_a_secret_goes(text: str, clean: str) -> None:
    """Passwords in URLs and assignments, credentials and keys must go although nobody named them."""
    assert Redactor().clean(text) == clean


@pytest.mark.parametrize(
    "text", ["assert 1 == 2", "Service 'web' ended with exit code 3", "tests/test_token.py::test_auth[basic]", "ü 漢"]
)
def test_all_else_stays(text: str) -> None:
    """What tells nothing must be readable as it was."""
    assert Redactor([SECRET, "abc", ""]).clean(text) == text


def test_a_secret_of_several_lines_is_found_line_by_line() -> None:
    """A log may have cut it."""
    assert Redactor(["first-line\nsecond-line"]).clean("x second-line y") == "x *** y"


def test_variables_are_secret_by_their_names() -> None:
    """Values of variables whose names tell must be known, words and numbers that stand for themselves not."""
    found = secrets_in(
        {"DB_PASSWORD": "hunter2", "API_KEY": "k-123", "HOME": "/root", "POSTGRES_HOST_AUTH_METHOD": "trust",
         "TOKEN_TTL": "3600", "PASSWORD": "abc", "SLACK_WEBHOOK": "https://x/y"}
    )  # fmt: skip
    assert sorted(found) == ["https://x/y", "hunter2", "k-123"]
