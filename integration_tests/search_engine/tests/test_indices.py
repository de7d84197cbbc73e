"""Indices and mappings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from integration_tests.search_engine.client import Client


def test_create(client: Client) -> None:
    """An index that was created has the mappings that it was given."""
    client.create({"name": {"type": "keyword"}, "age": {"type": "integer"}})
    mappings = client.must("GET", f"/{client.name}/_mapping")[client.name]["mappings"]
    assert mappings["properties"] == {"name": {"type": "keyword"}, "age": {"type": "integer"}}
    assert client.send("HEAD", f"/{client.name}").status == 200


def test_create_twice(client: Client) -> None:
    """To create an index that is there is refused with 400, and says that it exists."""
    client.create()
    reply = client.send("PUT", f"/{client.name}", {})
    assert (reply.status, reply.kind) == (400, "resource_already_exists_exception")


@pytest.mark.parametrize("name", ["UPPER", "_first", "a,b"])
def test_wrong_name(client: Client, name: str) -> None:
    """A name that no index may have is refused with 400, as such."""
    reply = client.send("PUT", f"/{name}", {})
    assert (reply.status, reply.kind) == (400, "invalid_index_name_exception")


def test_delete(client: Client) -> None:
    """An index that was deleted is gone at once, for searches too."""
    client.create()
    client.must("DELETE", f"/{client.name}")
    assert client.send("HEAD", f"/{client.name}").status == 404
    assert client.send("GET", f"/{client.name}/_search").status == 404


def test_unknown_index(client: Client) -> None:
    """A search, a count and a deletion of an index that is not there are refused with 404, as such."""
    for method, path in (("GET", "/_search"), ("GET", "/_count"), ("DELETE", "")):
        reply = client.send(method, f"/{client.name}{path}")
        assert (reply.status, reply.kind) == (404, "index_not_found_exception")


def test_mapping_conflict(client: Client) -> None:
    """The type of a field that is mapped cannot be changed: 400, and the field is named."""
    client.create({"age": {"type": "integer"}})
    reply = client.send("PUT", f"/{client.name}/_mapping", {"properties": {"age": {"type": "text"}}})
    assert (reply.status, reply.kind) == (400, "illegal_argument_exception")
    assert "mapper [age] cannot be changed from type [integer] to [text]" in reply.text


def test_mapping_grows(client: Client) -> None:
    """A field may be added to the mappings of an index that has documents."""
    client.create({"age": {"type": "integer"}})
    client.bulk([{"age": 1}])
    client.must("PUT", f"/{client.name}/_mapping", {"properties": {"name": {"type": "keyword"}}})
    client.bulk([{"name": "Rex Max"}])
    assert client.search({"term": {"name": "Rex Max"}})["hits"]["total"]["value"] == 1


def test_dynamic_mapping(client: Client) -> None:
    """A text that no mapping knows becomes a text field with a keyword beside it, a number a long one."""
    client.create()
    client.bulk([{"name": "Rex", "age": 3}])
    properties = client.must("GET", f"/{client.name}/_mapping")[client.name]["mappings"]["properties"]
    assert properties["age"] == {"type": "long"}
    assert properties["name"]["type"] == "text"
    assert properties["name"]["fields"]["keyword"]["type"] == "keyword"


def test_strict_mapping(client: Client) -> None:
    """Where mappings are strict a document with another field is refused with 400, as such."""
    body = {"settings": {"number_of_replicas": 0}, "mappings": {"dynamic": "strict", "properties": {}}}
    client.must("PUT", f"/{client.name}", body)
    reply = client.send("PUT", f"/{client.name}/_doc/1", {"other": 1})
    assert (reply.status, reply.kind) == (400, "strict_dynamic_mapping_exception")


def test_first_document_makes_the_index(client: Client) -> None:
    """A document for an index that is not there makes it."""
    client.must("PUT", f"/{client.name}/_doc/1?refresh=true", {"n": 1})
    assert client.count() == 1


def test_alias(client: Client) -> None:
    """An alias is searched like the index, and can go over to another one in one request."""
    alias, second = f"{client.name}-alias", f"{client.name}-2"
    client.create()
    client.bulk([{"_id": "a", "n": 1}])
    client.create(index=second)
    client.bulk([{"_id": "b", "n": 1}], second)
    client.must("POST", "/_aliases", {"actions": [{"add": {"index": client.name, "alias": alias}}]})
    assert [hit["_id"] for hit in client.search(index=alias)["hits"]["hits"]] == ["a"]
    actions = [{"remove": {"index": client.name, "alias": alias}}, {"add": {"index": second, "alias": alias}}]
    client.must("POST", "/_aliases", {"actions": actions})
    assert [hit["_id"] for hit in client.search(index=alias)["hits"]["hits"]] == ["b"]


def test_read_only(client: Client) -> None:
    """An index that was made read-only refuses documents with 403, gives what it has, and may be opened again."""
    client.create()
    client.bulk([{"n": 1}])
    client.must("PUT", f"/{client.name}/_settings", {"index.blocks.read_only": True})
    reply = client.send("POST", f"/{client.name}/_doc", {"n": 2})
    assert (reply.status, reply.kind) == (403, "cluster_block_exception")
    assert client.count() == 1
    client.must("PUT", f"/{client.name}/_settings", {"index.blocks.read_only": None})
    client.must("POST", f"/{client.name}/_doc?refresh=true", {"n": 2})
    assert client.count() == 2


def test_several_indices(client: Client) -> None:
    """Several indices, by names with commas or a pattern, are searched as one."""
    for number in (1, 2):
        client.create(index=f"{client.name}-{number}")
        client.bulk([{"n": number}], f"{client.name}-{number}")
    assert client.count(f"{client.name}-1,{client.name}-2") == 2
    assert client.count(f"{client.name}-*") == 2


def test_analyze(client: Client) -> None:
    """The standard analyzer makes lower-case words of a text, also of what is not ASCII."""
    tokens = client.must("POST", "/_analyze", {"analyzer": "standard", "text": "The Zoë-Cat, 3 ÄPFEL"})["tokens"]
    assert [token["token"] for token in tokens] == ["the", "zoë", "cat", "3", "äpfel"]


def test_reindex(client: Client) -> None:
    """Documents are copied to another index, those only that a query finds."""
    client.create()
    client.bulk([{"n": number} for number in range(5)])
    source, target = {"index": client.name, "query": {"range": {"n": {"gte": 3}}}}, f"{client.name}-2"
    client.must("POST", "/_reindex?refresh=true", {"source": source, "dest": {"index": target}})
    assert client.count(target) == 2
