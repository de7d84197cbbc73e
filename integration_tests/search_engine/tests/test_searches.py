"""Searches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

if TYPE_CHECKING:
    from integration_tests.search_engine.client import Client

FIELDS = {
    "name": {"type": "text", "fields": {"raw": {"type": "keyword"}}},
    "kind": {"type": "keyword"},
    "age": {"type": "integer"},
    "born": {"type": "date"},
    "note": {"type": "text"},
}
PETS = [
    {"_id": "rex", "name": "Rex", "kind": "dog", "age": 3, "born": "2020-05-01", "note": "a good, quick brown dog"},
    {"_id": "mia", "name": "Mia", "kind": "cat", "age": 5, "born": "2018-01-31", "note": "quick as a fox"},
    {"_id": "zoe", "name": "Zoë", "kind": "cat", "age": 1, "born": "2022-12-24", "note": "brown fox, that is no dog"},
    {"_id": "max", "name": "Max Power", "kind": "dog", "age": 8, "born": "2015-07-07"},
    {"_id": "jp", "name": "猫の手", "kind": "Cat", "age": 2, "note": 'C++ (or C#) & "more": 50% / [x]'},
]  # fmt: skip


@pytest.fixture
def pets(client: Client) -> Client:
    """A client whose index has five pets."""
    client.create(FIELDS)
    client.bulk(PETS)
    return client


def test_all(pets: Client) -> None:
    """A search without a query finds every document, and tells how many, without a time-out or a failed shard."""
    answer = pets.search()
    assert answer["hits"]["total"] == {"value": 5, "relation": "eq"}
    assert (answer["timed_out"], answer["_shards"]["failed"]) == (False, 0)
    assert {hit["_id"]: hit["_source"]["name"] for hit in answer["hits"]["hits"]}["zoe"] == "Zoë"


def test_none(pets: Client) -> None:
    """A search that finds nothing is 200 with no hits."""
    answer = pets.search({"term": {"kind": "fish"}})
    assert (answer["hits"]["total"]["value"], answer["hits"]["hits"], answer["hits"]["max_score"]) == (0, [], None)


def test_match(pets: Client) -> None:
    """A match finds texts with any of its words, in whatever case, and with all of them where that is asked for."""
    assert pets.found({"match": {"note": "QUICK fox"}}) == {"rex", "mia", "zoe"}
    assert pets.found({"match": {"note": {"query": "Quick Fox", "operator": "and"}}}) == {"mia"}


def test_match_of_nothing(pets: Client) -> None:
    """A match of an empty text finds nothing."""
    assert pets.found({"match": {"name": ""}}) == set()


def test_term(pets: Client) -> None:
    """A term of a keyword is exact, with its case; in a text it is a word as the analyzer made it."""
    assert pets.found({"term": {"kind": "cat"}}) == {"mia", "zoe"}
    assert pets.found({"term": {"kind": "Cat"}}) == {"jp"}
    assert pets.found({"term": {"name": "Rex"}}) == set()
    assert pets.found({"term": {"name": "rex"}}) == {"rex"}


def test_term_of_any_case(pets: Client) -> None:
    """A term finds every case of a keyword where that is asked for."""
    assert pets.found({"term": {"kind": {"value": "CAT", "case_insensitive": True}}}) == {"mia", "zoe", "jp"}


def test_terms_and_ids(pets: Client) -> None:
    """Documents are found by any of several terms, and by their ids."""
    assert pets.found({"terms": {"kind": ["dog", "Cat"]}}) == {"rex", "max", "jp"}
    assert pets.found({"ids": {"values": ["rex", "none"]}}) == {"rex"}


def test_unicode(pets: Client) -> None:
    """Texts that are not ASCII are found, by letters with accents and by those of other scripts."""
    assert pets.found({"match": {"name": "zoë"}}) == {"zoe"}
    assert pets.found({"match": {"name": "猫"}}) == {"jp"}
    assert pets.found({"term": {"name.raw": "猫の手"}}) == {"jp"}
    assert pets.found({"match": {"name": "zoe"}}) == set()


def test_phrase(pets: Client) -> None:
    """A phrase finds its words in their order only."""
    assert pets.found({"match_phrase": {"note": "brown dog"}}) == {"rex"}
    assert pets.found({"match_phrase": {"note": "dog brown"}}) == set()


def test_prefix_and_wildcard(pets: Client) -> None:
    """Keywords are found by how they begin, and by patterns."""
    assert pets.found({"prefix": {"name.raw": "M"}}) == {"mia", "max"}
    assert pets.found({"wildcard": {"name.raw": "*e?"}}) == {"rex", "max"}


def test_fuzzy(pets: Client) -> None:
    """A word with a wrong letter is found where that is asked for."""
    assert pets.found({"match": {"note": {"query": "quikc", "fuzziness": "AUTO"}}}) == {"rex", "mia"}


def test_exists(pets: Client) -> None:
    """Documents are found by whether they have a field."""
    assert pets.found({"bool": {"must_not": {"exists": {"field": "note"}}}}) == {"max"}


def test_bool(pets: Client) -> None:
    """Conditions that must, should and must not hold are put together."""
    query = {
        "filter": [{"range": {"age": {"gte": 2}}}],
        "must_not": [{"term": {"kind": "Cat"}}],
        "should": [{"term": {"kind": "cat"}}, {"match": {"name": "power"}}],
        "minimum_should_match": 1,
    }
    assert pets.found({"bool": query}) == {"mia", "max"}


def test_range_of_dates(pets: Client) -> None:
    """A range of dates has its ends, and understands rounding."""
    assert pets.found({"range": {"born": {"gte": "2018-01-31", "lt": "2020-05-01"}}}) == {"mia"}
    assert pets.found({"range": {"born": {"gte": "2020-01-01||/y", "lte": "2020-01-01||/y"}}}) == {"rex"}


def test_sort(pets: Client) -> None:
    """Hits come in the order of several fields, those without a value last, with the values that they are sorted by."""
    assert pets.ids(sort=[{"kind": "asc"}, {"age": "desc"}]) == ["jp", "mia", "zoe", "max", "rex"]
    assert pets.ids(sort=[{"born": "asc"}]) == ["max", "mia", "rex", "zoe", "jp"]
    assert pets.search(sort=[{"age": "asc"}])["hits"]["hits"][0]["sort"] == [1]


def test_sort_by_text(pets: Client) -> None:
    """To sort by a text is refused with 400, and says what to use in its place."""
    reply = pets.send("POST", f"/{pets.name}/_search", {"sort": [{"note": "asc"}]})
    assert reply.status == 400
    assert "Text fields are not optimised" in reply.text


def test_score(pets: Client) -> None:
    """The hit that fits best comes first: the shorter text, or the one whose field counts more."""
    pets.create({"t": {"type": "text"}, "u": {"type": "text"}}, f"{pets.name}-2")
    pets.bulk([{"_id": "long", "t": "fox and many other words"}, {"_id": "short", "t": "fox"}], f"{pets.name}-2")
    hits = pets.search({"match": {"t": "fox"}}, f"{pets.name}-2")["hits"]["hits"]
    assert [hit["_id"] for hit in hits] == ["short", "long"]
    assert hits[0]["_score"] > hits[1]["_score"] > 0


def test_source_filter(pets: Client) -> None:
    """Of a hit only those fields are given that were asked for."""
    answer = pets.search({"ids": {"values": ["rex"]}}, _source=["name", "age"])
    assert answer["hits"]["hits"][0]["_source"] == {"name": "Rex", "age": 3}


def test_highlight(pets: Client) -> None:
    """The words that were found are marked."""
    answer = pets.search({"match": {"note": "fox"}}, highlight={"fields": {"note": {}}}, sort=[{"age": "asc"}])
    assert answer["hits"]["hits"][0]["highlight"] == {"note": ["brown <em>fox</em>, that is no dog"]}


def test_aggregations(pets: Client) -> None:
    """Documents are counted by terms, with averages in each, without giving hits."""
    ages = {"age": {"avg": {"field": "age"}}}
    answer = pets.search(size=0, aggs={"kinds": {"terms": {"field": "kind"}, "aggs": ages}})
    buckets = answer["aggregations"]["kinds"]["buckets"]
    assert {line["key"]: (line["doc_count"], line["age"]["value"]) for line in buckets} == {
        "cat": (2, 3.0),
        "dog": (2, 5.5),
        "Cat": (1, 2.0),
    }
    assert answer["hits"]["hits"] == []


def test_histogram(pets: Client) -> None:
    """Documents are counted by year."""
    aggs = {"years": {"date_histogram": {"field": "born", "calendar_interval": "year", "min_doc_count": 1}}}
    buckets = pets.search(size=0, aggs=aggs)["aggregations"]["years"]["buckets"]
    assert [line["key_as_string"][:4] for line in buckets] == ["2015", "2018", "2020", "2022"]


def test_query_string(pets: Client) -> None:
    """The query language knows fields, AND, OR, NOT, phrases and ranges."""
    for text, found in (
        ("kind:cat AND age:[2 TO *]", {"mia"}),
        ("name:rex OR name:mia", {"rex", "mia"}),
        ("note:fox NOT kind:cat", set()),
        ('note:"brown dog"', {"rex"}),
    ):
        assert pets.found({"query_string": {"query": text}}) == found


def test_query_string_that_is_none(pets: Client) -> None:
    """A text that the query language does not know is refused with 400, as such."""
    for text in ("(name:rex", "name:", "[1 TO"):
        reply = pets.send("POST", f"/{pets.name}/_search", {"query": {"query_string": {"query": text}}})
        assert reply.status == 400, text
        assert "Failed to parse query" in reply.text


def test_special_characters(pets: Client) -> None:
    """Special characters of the query language mean themselves in a match, in a term and when they are escaped."""
    for text in ("C++ (or C#)", "[x] AND (", "a:b/c\\", '"', "*", "?"):
        pets.found({"match": {"note": text}})
    assert pets.found({"match": {"note": "50% / [x]"}}) == {"jp"}
    assert pets.found({"query_string": {"query": r"note:50\% \[x\]", "default_field": "note"}}) == {"jp"}


def test_simple_query_string(pets: Client) -> None:
    """The simple query language refuses nothing: what it does not understand is text."""
    for text in ("(name:rex", "rex | mia", '"', "[1 TO"):
        pets.found({"simple_query_string": {"query": text, "fields": ["name"]}})
    assert pets.found({"simple_query_string": {"query": "rex | mia", "fields": ["name"]}}) == {"rex", "mia"}


def test_query_in_the_path(pets: Client) -> None:
    """A query may stand in the path, with what is not ASCII as UTF-8."""
    answer = pets.must("GET", f"/{pets.name}/_search?q={quote('name:Zoë')}")
    assert [hit["_id"] for hit in answer["hits"]["hits"]] == ["zoe"]


def test_from_and_size(pets: Client) -> None:
    """Pages by from and size are parts of one order, and one after the end is empty."""
    pages = [pets.ids(sort=[{"age": "asc"}], size=2, **{"from": first}) for first in (0, 2, 4, 6)]
    assert pages == [["zoe", "jp"], ["rex", "mia"], ["max"], []]


def test_page_too_far(client: Client) -> None:
    """A page beyond the first 10,000 hits is refused with 400, and names the limit."""
    client.create()
    reply = client.send("POST", f"/{client.name}/_search", {"from": 10_000, "size": 1})
    assert reply.status == 400
    assert "max_result_window" in reply.text


def test_search_after(client: Client) -> None:
    """Pages by search_after go through 10,000 documents, each once, in order."""
    client.create({"n": {"type": "integer"}})
    client.bulk({"n": number} for number in range(10_000))
    seen: list[int] = []
    body: dict[str, Any] = {"size": 2500, "sort": [{"n": "asc"}]}
    while hits := client.search(**body)["hits"]["hits"]:
        seen += [hit["_source"]["n"] for hit in hits]
        body["search_after"] = hits[-1]["sort"]
    assert seen == list(range(10_000))


def test_scroll(client: Client) -> None:
    """A scroll gives every document once, as of its beginning, and is gone when it was closed."""
    client.create()
    client.bulk({"n": number} for number in range(1000))
    page = client.must("POST", f"/{client.name}/_search?scroll=1m", {"size": 300, "sort": ["_doc"]})
    client.bulk([{"n": -1}])
    seen = []
    while page["hits"]["hits"]:
        seen += [hit["_source"]["n"] for hit in page["hits"]["hits"]]
        page = client.must("POST", "/_search/scroll", {"scroll": "1m", "scroll_id": page["_scroll_id"]})
    assert sorted(seen) == list(range(1000))
    client.must("DELETE", "/_search/scroll", {"scroll_id": page["_scroll_id"]})
    reply = client.send("POST", "/_search/scroll", {"scroll": "1m", "scroll_id": page["_scroll_id"]})
    assert reply.status == 404


def test_total_of_many(client: Client) -> None:
    """Of more than 10,000 hits the total says so, and is exact where that is asked for."""
    client.create()
    client.bulk({"n": number} for number in range(10_001))
    assert client.search()["hits"]["total"] == {"value": 10_000, "relation": "gte"}
    assert client.search(track_total_hits=True)["hits"]["total"] == {"value": 10_001, "relation": "eq"}


def test_unknown_query(pets: Client) -> None:
    """A query that is none is refused with 400, as such."""
    reply = pets.send("POST", f"/{pets.name}/_search", {"query": {"mtach": {"name": "rex"}}})
    assert (reply.status, reply.kind) == (400, "parsing_exception")


def test_malformed_search(pets: Client) -> None:
    """A search that is no JSON is refused with 400."""
    assert pets.send("POST", f"/{pets.name}/_search", b'{"query": ').status == 400


def test_multi_search(pets: Client) -> None:
    """Several searches of one request are answered each at its place, one that is refused beside the others."""
    lines = [b"{}", b'{"query": {"term": {"kind": "dog"}}}', b'{"index": "no-such-index"}', b"{}"]
    answer = pets.must("POST", f"/{pets.name}/_msearch", b"\n".join(lines) + b"\n", kind="application/x-ndjson")
    good, refused = answer["responses"]
    assert (good["hits"]["total"]["value"], refused["status"]) == (2, 404)
