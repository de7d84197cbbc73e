"""Health and the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from integration_tests.search_engine.client import Client


def test_root(client: Client) -> None:
    """The root says a version, and that of OpenSearch's distribution."""
    about = client.must("GET", "/")
    assert about["version"]["distribution"] == "opensearch"
    assert int(about["version"]["number"].split(".")[0]) >= 2


def test_green(client: Client) -> None:
    """A node whose indices have no replicas is green."""
    client.create()
    health = client.must("GET", f"/_cluster/health/{client.name}")
    assert (health["status"], health["number_of_nodes"], health["timed_out"]) == ("green", 1, False)


def test_yellow(client: Client) -> None:
    """An index that wants a replica is yellow on one node."""
    client.create(number_of_replicas=1)
    assert client.must("GET", f"/_cluster/health/{client.name}")["status"] == "yellow"


def test_replicas_may_go(client: Client) -> None:
    """A yellow index is green when its replicas are taken off."""
    client.create(number_of_replicas=1)
    client.must("PUT", f"/{client.name}/_settings", {"index": {"number_of_replicas": 0}})
    assert client.must("GET", f"/_cluster/health/{client.name}?wait_for_status=green&timeout=5s")["status"] == "green"


def test_wait_for_status(client: Client) -> None:
    """A wait for a status that does not come ends with 408 after its time-out."""
    client.create(number_of_replicas=1)
    reply = client.send("GET", f"/_cluster/health/{client.name}?wait_for_status=green&timeout=100ms")
    assert (reply.status, reply.json["timed_out"], reply.json["status"]) == (408, True, "yellow")


def test_cat_indices(client: Client) -> None:
    """The list of indices has health, name and number of documents."""
    client.create()
    client.bulk([{"n": 1}, {"n": 2}])
    (line,) = client.must("GET", f"/_cat/indices/{client.name}?format=json&h=health,index,docs.count")
    assert line == {"health": "green", "index": client.name, "docs.count": "2"}


def test_unknown_path(client: Client) -> None:
    """A path that is none is refused with 400, and says so."""
    reply = client.send("GET", f"/{client.name}/_nothing/_of/_the/_kind")
    assert reply.status == 400
    assert "no handler found" in reply.text


def test_wrong_method(client: Client) -> None:
    """A method that a path does not have is refused with 405."""
    assert client.send("DELETE", "/_cluster/health").status == 405
