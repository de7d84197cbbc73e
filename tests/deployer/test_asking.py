"""What a deployer is asked for, and by whom."""

from __future__ import annotations

import json

import pytest

from harness.deployer.asking import Create, ListAll, Logs, LookAt, Refusal, Remove, Restart, admit, meaning


@pytest.mark.parametrize(
    ("method", "target", "asked"),
    [
        ("GET", "/instances", ListAll()),
        ("GET", "/instances/a-1", LookAt("a-1")),
        ("GET", "/instances/a-1/logs", Logs("a-1", 200)),
        ("GET", "/instances/a-1/logs?tail=7", Logs("a-1", 7)),
        ("POST", "/instances/a-1/restart", Restart("a-1")),
        ("DELETE", "/instances/a-1", Remove("a-1")),
    ],
)
def test_a_request_means_what_its_path_says(method: str, target: str, asked: object) -> None:
    """Each method and path must mean one thing."""
    assert meaning(method, target, b"") == asked


def test_a_copy_is_asked_for_by_template_and_name() -> None:
    """The body must say which template, under which name and with which variables."""
    body = {"template": "pynode", "name": "a-1", "environment": {"A": "é"}}
    assert meaning("POST", "/instances", json.dumps(body).encode()) == Create("pynode", "a-1", {"A": "é"})


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "the body is no JSON"),
        (b"[" * 100_000, "the body is no JSON"),
        (b"\xff", "the body is no JSON"),
        (b"[]", "the body is not {template, name, environment}"),
        (b'{"template": "a", "name": "b", "image": "c"}', "the body is not {template, name, environment}"),
        (b'{"name": "b"}', "template is missing, or no text"),
        (b'{"template": "a"}', "name 'None' is none: 1 to 40 of a-z, 0-9 and - were needed"),
        (b'{"template": "a", "name": "../x"}', "name '../x' is none: 1 to 40 of a-z, 0-9 and - were needed"),
        (b'{"template": "a", "name": "A"}', "name 'A' is none: 1 to 40 of a-z, 0-9 and - were needed"),
        (b'{"template": "a", "name": "b\\n"}', "name 'b\\n' is none: 1 to 40 of a-z, 0-9 and - were needed"),
        (b'{"template": "a", "name": "b", "environment": []}', "environment is no table of names and texts"),
        (b'{"template": "a", "name": "b", "environment": {"A": 1}}', "environment: A is no text"),
        (b'{"template": "a", "name": "b", "environment": {"A": "\\u0000"}}', "environment: A is no text"),
        (b'{"template": "a", "name": "b", "environment": {"A": "\\ud800"}}', "environment: A is no text that can be"),
    ],
)
def test_a_body_that_makes_no_sense_is_told(body: bytes, told: str) -> None:
    """What is wrong must be said in one sentence with status 400."""
    with pytest.raises(Refusal) as caught:
        meaning("POST", "/instances", body)
    assert caught.value.status == 400
    assert caught.value.sentence.startswith(told)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 404),
        ("PUT", "/instances", 404),
        ("POST", "/instances/a/logs", 404),
        ("GET", "/instances/a/logs?tail=0", 400),
        ("GET", "/instances/a/logs?tail=99999999999999999999", 400),
        ("GET", "/instances/a/logs?tail=x", 400),
        ("GET", "/instances/a/logs?head=1", 400),
    ],
)
def test_what_is_not_there_is_told(method: str, target: str, status: int) -> None:
    """A path that means nothing must be 404, and a query that does 400."""
    with pytest.raises(Refusal) as caught:
        meaning(method, target, b"")
    assert caught.value.status == status


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Basic secret", "secret", "Bearer secretx", "Bearer ü"])
def test_who_has_no_token_is_refused(header: str) -> None:
    """Another token, another kind of it and none must be 401, without a word of the right one."""
    with pytest.raises(Refusal) as caught:
        admit(header, "secret")
    assert caught.value.status == 401
    assert "secret" not in caught.value.sentence


def test_who_has_the_token_is_served() -> None:
    """The token must be accepted, whatever the case of the word before it."""
    admit("Bearer secret", "secret")
    admit("bearer secret ", "secret")
