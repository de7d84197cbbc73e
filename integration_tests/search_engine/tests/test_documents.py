"""Documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from integration_tests.search_engine.client import Client


def test_put_and_get(client: Client) -> None:
    """A document is got by its id at once, before any refresh, as it was sent."""
    client.create()
    document = {"name": "Zoë 🐈", "tags": ["a", "b"], "owner": {"name": "Ann"}, "none": None, "n": 1.50}
    created = client.must("PUT", f"/{client.name}/_doc/1", document)
    assert (created["result"], created["_version"]) == ("created", 1)
    got = client.must("GET", f"/{client.name}/_doc/1")
    assert (got["found"], got["_source"]) == (True, document)


def test_unknown_document(client: Client) -> None:
    """A document that is not there is 404, with found: false."""
    client.create()
    reply = client.send("GET", f"/{client.name}/_doc/none")
    assert (reply.status, reply.json["found"]) == (404, False)


def test_refresh(client: Client) -> None:
    """A search sees a document after a refresh, and not before."""
    client.create(refresh_interval="-1")
    client.must("PUT", f"/{client.name}/_doc/1", {"n": 1})
    assert client.count() == 0
    client.must("POST", f"/{client.name}/_refresh")
    assert client.count() == 1


def test_wait_for_refresh(client: Client) -> None:
    """A document that is put with refresh=wait_for is seen by the next search."""
    client.create(refresh_interval="100ms")
    client.must("PUT", f"/{client.name}/_doc/1?refresh=wait_for", {"n": 1})
    assert client.count() == 1


def test_overwrite(client: Client) -> None:
    """A document with the id of another one takes its place, with the next version."""
    client.create()
    client.must("PUT", f"/{client.name}/_doc/1", {"a": 1})
    again = client.must("PUT", f"/{client.name}/_doc/1?refresh=true", {"b": 2})
    assert (again["result"], again["_version"]) == ("updated", 2)
    assert client.must("GET", f"/{client.name}/_doc/1")["_source"] == {"b": 2}
    assert client.count() == 1


def test_create_only(client: Client) -> None:
    """A document that is only to be created is refused with 409 where there is one."""
    client.create()
    client.must("PUT", f"/{client.name}/_create/1", {"a": 1})
    reply = client.send("PUT", f"/{client.name}/_create/1", {"a": 2})
    assert (reply.status, reply.kind) == (409, "version_conflict_engine_exception")


def test_concurrent_change(client: Client) -> None:
    """A change for a sequence number that is not the last one is refused with 409, and changes nothing."""
    client.create()
    first = client.must("PUT", f"/{client.name}/_doc/1", {"n": 1})
    at = f"if_seq_no={first['_seq_no']}&if_primary_term={first['_primary_term']}"
    client.must("PUT", f"/{client.name}/_doc/1?{at}", {"n": 2})
    reply = client.send("PUT", f"/{client.name}/_doc/1?{at}", {"n": 3})
    assert (reply.status, reply.kind) == (409, "version_conflict_engine_exception")
    assert client.must("GET", f"/{client.name}/_doc/1")["_source"] == {"n": 2}


def test_update(client: Client) -> None:
    """A partial update changes what it names, keeps the rest, and says when it changed nothing."""
    client.create()
    client.must("PUT", f"/{client.name}/_doc/1", {"name": "Rex", "age": 3})
    assert client.must("POST", f"/{client.name}/_update/1", {"doc": {"age": 4}})["result"] == "updated"
    assert client.must("POST", f"/{client.name}/_update/1", {"doc": {"age": 4}})["result"] == "noop"
    assert client.must("GET", f"/{client.name}/_doc/1")["_source"] == {"name": "Rex", "age": 4}


def test_update_by_script(client: Client) -> None:
    """A script of Painless changes a document, with its parameters."""
    client.create()
    client.must("PUT", f"/{client.name}/_doc/1", {"age": 3})
    script = {"source": "ctx._source.age += params.years", "params": {"years": 2}}
    client.must("POST", f"/{client.name}/_update/1", {"script": script})
    assert client.must("GET", f"/{client.name}/_doc/1")["_source"] == {"age": 5}


def test_upsert(client: Client) -> None:
    """An update of a document that is not there makes it where it brings one along, else it is 404."""
    client.create()
    client.must("POST", f"/{client.name}/_update/1", {"doc": {"n": 1}, "doc_as_upsert": True})
    assert client.must("GET", f"/{client.name}/_doc/1")["_source"] == {"n": 1}
    reply = client.send("POST", f"/{client.name}/_update/2", {"doc": {"n": 1}})
    assert (reply.status, reply.kind) == (404, "document_missing_exception")


def test_delete(client: Client) -> None:
    """A document that was deleted is gone, and deleting it once more is 404."""
    client.create()
    client.bulk([{"_id": "1", "n": 1}])
    assert client.must("DELETE", f"/{client.name}/_doc/1?refresh=true")["result"] == "deleted"
    assert client.count() == 0
    assert client.send("DELETE", f"/{client.name}/_doc/1").status == 404


def test_delete_by_query(client: Client) -> None:
    """What a query finds is deleted and counted, the rest stays."""
    client.create()
    client.bulk([{"_id": str(number), "n": number} for number in range(10)])
    done = client.must("POST", f"/{client.name}/_delete_by_query?refresh=true", {"query": {"range": {"n": {"lt": 4}}}})
    assert (done["deleted"], client.count()) == (4, 6)


def test_update_by_query(client: Client) -> None:
    """What a query finds is changed by a script, the rest stays."""
    client.create()
    client.bulk([{"_id": str(number), "n": number} for number in range(4)])
    body = {"query": {"range": {"n": {"gte": 2}}}, "script": {"source": "ctx._source.n += 10"}}
    assert client.must("POST", f"/{client.name}/_update_by_query?refresh=true", body)["updated"] == 2
    assert sorted(hit["_source"]["n"] for hit in client.search()["hits"]["hits"]) == [0, 1, 12, 13]


def test_bulk(client: Client) -> None:
    """A bulk request carries out each of its actions, in order, and tells the outcome of each."""
    client.create()
    lines = [
        b'{"index": {"_id": "a"}}', b'{"n": 1}', b'{"create": {"_id": "b"}}', b'{"n": 2}',
        b'{"update": {"_id": "a"}}', b'{"doc": {"n": 3}}', b'{"delete": {"_id": "b"}}',
    ]  # fmt: skip
    path = f"/{client.name}/_bulk?refresh=true"
    answer = client.must("POST", path, b"\n".join(lines) + b"\n", kind="application/x-ndjson")
    assert answer["errors"] is False
    told = [(action, item["result"]) for line in answer["items"] for action, item in line.items()]
    assert told == [("index", "created"), ("create", "created"), ("update", "updated"), ("delete", "deleted")]
    assert [hit["_source"] for hit in client.search()["hits"]["hits"]] == [{"n": 3}]


def test_bulk_with_a_wrong_document(client: Client) -> None:
    """A document of a bulk request that is refused is told at its place, and the others are taken."""
    client.create({"n": {"type": "integer"}})
    answer = client.bulk([{"n": 1}, {"n": "many"}, {"n": 3}])
    assert answer["errors"] is True
    assert [item["index"]["status"] for item in answer["items"]] == [201, 400, 201]
    assert answer["items"][1]["index"]["error"]["type"] == "mapper_parsing_exception"
    assert client.count() == 2


def test_bulk_of_many(client: Client) -> None:
    """10,000 documents of one request are all there."""
    client.create()
    client.bulk({"_id": str(number), "n": number} for number in range(10_000))
    assert client.count() == 10_000


def test_bulk_without_an_end(client: Client) -> None:
    """A bulk request whose last line does not end is refused with 400."""
    client.create()
    reply = client.send("POST", f"/{client.name}/_bulk", b'{"index": {}}\n{"n": 1}', kind="application/x-ndjson")
    assert reply.status == 400
    assert "newline" in reply.text


def test_malformed_document(client: Client) -> None:
    """A document that is no JSON is refused with 400, as such, and nothing is kept of it."""
    client.create()
    reply = client.send("POST", f"/{client.name}/_doc?refresh=true", b'{"n": ')
    assert (reply.status, reply.kind) == (400, "mapper_parsing_exception")
    assert client.count() == 0


def test_wrong_type(client: Client) -> None:
    """A value that is not of its field's type is refused with 400, and the field is named."""
    client.create({"age": {"type": "integer"}})
    reply = client.send("PUT", f"/{client.name}/_doc/1", {"age": "old"})
    assert (reply.status, reply.kind) == (400, "mapper_parsing_exception")
    assert "failed to parse field [age] of type [integer]" in reply.text


def test_without_content_type(client: Client) -> None:
    """A body whose type is not JSON is refused with 406, and says so."""
    client.create()
    reply = client.send("POST", f"/{client.name}/_doc", b"n=1", kind="application/x-www-form-urlencoded")
    assert reply.status == 406


def test_multi_get(client: Client) -> None:
    """Several documents are got in the order in which they were asked for, with those that are not there."""
    client.create()
    client.bulk([{"_id": "a", "n": 1}, {"_id": "b", "n": 2}])
    found = client.must("POST", f"/{client.name}/_mget", {"ids": ["b", "none", "a"]})["docs"]
    assert [(line["_id"], line["found"]) for line in found] == [("b", True), ("none", False), ("a", True)]
