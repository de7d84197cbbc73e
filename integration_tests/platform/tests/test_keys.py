"""Who may do what: API keys, and what belongs to others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from integration_tests.platform.tests.suite import Deployer, Platform, manage

if TYPE_CHECKING:
    import harness
    from integration_tests.platform.tests.suite import Model

NOBODYS = {
    "word": "secret",
    "point": ".",
    "shape": "0123456789ab.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRST",
    "long": "a" * 4000,
    "sql": "x' OR '1'='1.x",
}


def test_without_a_key_nothing_is_told(stack: harness.Stack, starter: Model) -> None:
    """A request without a key must be 401 on every path, with what was needed."""
    with Platform(stack.url("django", 8000)) as nobody:
        for path in ("/api/applications", "/api/quota", starter.path):
            said = nobody.ask("GET", path)
            assert said.told == (401, "an API key was needed: Authorization: Bearer KEY")
            assert said.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("key", NOBODYS.values(), ids=NOBODYS.keys())
def test_a_key_of_nobody_is_refused(stack: harness.Stack, key: str) -> None:
    """A key that was never given out must be 401, whatever it looks like."""
    with Platform(stack.url("django", 8000), key) as nobody:
        assert nobody.ask("GET", "/api/applications").told == (401, "the API key is nobody's")


def test_the_whole_key_counts(stack: harness.Stack) -> None:
    """A key with another end, or with none, must be 401, and the right one must be taken."""
    key = manage(stack, "api_key", "guest")
    prefix, _, secret = key.partition(".")
    try:
        for wrong in (prefix, f"{prefix}.", f"{prefix}.{secret[:-1]}", f"{prefix}.{secret[:-1]}!", f"{key}."):
            with Platform(stack.url("django", 8000), wrong) as nobody:
                assert nobody.ask("GET", "/api/quota").status == 401, wrong
        with Platform(stack.url("django", 8000), key) as guest:
            assert guest.ask("GET", "/api/quota").status == 200
        with Platform(stack.url("django", 8000), key, scheme="Basic") as guest:
            assert guest.ask("GET", "/api/quota").status == 401
    finally:
        manage(stack, "api_key", "guest", "--revoke", prefix)


def test_a_revoked_key_is_refused_at_once(stack: harness.Stack) -> None:
    """A key that was revoked must be 401 with the next request, while another one of the user is taken."""
    revoked, other = manage(stack, "api_key", "guest", "guest").splitlines()
    try:
        with Platform(stack.url("django", 8000), revoked) as guest:
            assert guest.ask("GET", "/api/quota").status == 200
            manage(stack, "api_key", "guest", "--revoke", revoked.partition(".")[0])
            assert guest.ask("GET", "/api/quota").status == 401
        with Platform(stack.url("django", 8000), other) as guest:
            assert guest.ask("GET", "/api/quota").status == 200
    finally:
        manage(stack, "api_key", "guest", "--revoke", other.partition(".")[0])


def test_what_others_have_is_not_there(guest: Platform, starter: Model) -> None:
    """Whatever somebody else asks of a user's model must be 404, as if it were not there, and change nothing."""
    told = starter.platform.get(starter.path)
    version = f"/api/versions/{told['versions'][0]['id']}"
    asked = [
        ("GET", starter.path, None),
        ("DELETE", starter.path, None),
        ("POST", f"{starter.path}/versions", {"file": "price-1.onnx"}),
        ("POST", f"{starter.path}/invoke", {"inputs": [[1, 1, 1]]}),
        ("GET", version, None),
        ("DELETE", version, None),
        ("POST", f"{version}/promote", None),
        ("POST", f"{version}/scale", {"replicas": 0}),
        ("POST", f"{version}/restart", None),
        ("GET", f"{version}/logs", None),
        ("POST", f"{version}/invoke", {"inputs": [[1, 1, 1]]}),
    ]
    said = {f"{method} {path}": guest.ask(method, path, document).status for method, path, document in asked}
    assert set(said.values()) == {404}, said
    assert starter.platform.get(starter.path) == told


def test_others_are_not_listed(platform: Platform, guest: Platform) -> None:
    """A user's list must have what is theirs only."""
    assert "starter" in [one["name"] for one in platform.get("/api/applications")["applications"]]
    assert "starter" not in [one["name"] for one in guest.get("/api/applications")["applications"]]


def test_an_application_of_others_takes_no_model(guest: Platform, platform: Platform) -> None:
    """A model in somebody else's application must be 404; so must be to delete that."""
    (starter,) = [one for one in platform.get("/api/applications")["applications"] if one["name"] == "starter"]
    path = f"/api/applications/{starter['id']}"
    assert guest.ask("POST", f"{path}/models", {"name": "mine"}).status == 404
    assert guest.ask("DELETE", path).status == 404
    assert len(platform.get(path)["models"]) == 1


def test_no_secret_is_in_the_log(stack: harness.Stack, platform: Platform, deployer: Deployer) -> None:
    """The log must have each request, and neither a key, right or wrong, nor the deployer's token."""
    with Platform(stack.url("django", 8000), "wrong.never-to-be-seen") as nobody:
        nobody.ask("GET", "/api/quota")
    platform.get("/api/quota")
    log = stack.service("django").logs()
    assert "GET /api/quota 401" in log
    assert "GET /api/quota 200" in log
    key = str(platform.web.headers["Authorization"]).removeprefix("Bearer ")
    for secret in ("never-to-be-seen", key.partition(".")[2], deployer.token):
        assert secret not in log
