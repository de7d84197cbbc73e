"""Tests with types: stacks, services and endpoints are values of ``harness``."""

import os
import urllib.request

import harness

web = harness.stack_fixture("web", scope="session")
URL = os.environ["WEB_URL"]  # of [tool.harness.env], which is there when this file is imported


def get(url: str) -> bytes:
    """Return what is at a URL, asked without a proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as answer:
        body: bytes = answer.read()
    return body


def test_a_stack_and_its_service(web: harness.Stack) -> None:
    """A stack gives services, a service its endpoints, an endpoint its host and port."""
    service: harness.Service = web.service("web")
    end: harness.Endpoint = service.endpoint(8080)
    assert (end,) == service.endpoints
    assert f"{end.host}:{end.port}" == str(end) == web.endpoint("web", 8080)
    assert b"web.yaml" in get(web.url("web", 8080))


def test_a_variable_of_ones_own() -> None:
    """The same service, by a variable."""
    assert b"web.yaml" in get(URL)
