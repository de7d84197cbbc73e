"""A search engine in a stack: its probe, its seeds and its reset, on the engine that the preset starts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from servers import Web

from harness.errors import BrokenStack, ConfigError, HarnessError, Unsupported
from harness.helpers import search_plain
from harness.helpers.search_plain import PlainSearch, SearchRefusal, index_body, plant, reason_of
from harness.readiness import Target, start_probe
from harness.runs import running
from harness.stack import Probe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from projects import Project

    from harness import Stack

PETS = [{"_id": "rex", "name": "Rex", "age": 3}, {"name": "Mia", "age": 5}, {"_id": 7, "name": "Zoë", "age": 1}]
MAPPING = {"properties": {"name": {"type": "keyword"}, "age": {"type": "integer"}}}


def write(project: Project, lines: str, ready: Any = None, **seed: Any) -> None:
    """Write the stack ``s`` with an engine ``search`` and a seed of the index ``pets``."""
    (project.root / "compose" / "pets.ndjson").write_text(lines)
    (project.root / "compose" / "pets.json").write_text(json.dumps(MAPPING))
    table = {"index": "pets", "file": "pets.ndjson", "mapping": "pets.json", **seed}
    search = {"embedded": {"preset": "search"}, **({"ready": ready} if ready else {})}
    project.stack(
        "s",
        {"search": {"image": "opensearch", "ports": ["9200"], "x-harness": search}},
        **{"x-harness": {"seed": [{"key": "pets", "search": table}], "timeouts": {"ready": 5}}},
    )


def lines_of(documents: list[dict[str, Any]]) -> str:
    """Return documents as a file has them."""
    return "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)


def engine_of(stack: Stack) -> PlainSearch:
    """Return the engine of a stack."""
    host, _, port = stack.endpoint("search", 9200).partition(":")
    return PlainSearch(host, int(port))


def ids(engine: PlainSearch, index: str = "pets") -> dict[str, Any]:
    """Return id -> document of an index."""
    hits = engine.request("GET", f"/{index}/_search?size=100")["hits"]["hits"]
    return {hit["_id"]: hit["_source"] for hit in hits}


@pytest.fixture(scope="module")
def module_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project for all tests of the module."""
    from projects import Project  # noqa: PLC0415 - the class, which is only a type elsewhere

    root = tmp_path_factory.mktemp("search")
    return Project(root, root / "state")


@pytest.fixture(scope="module")
def stack(module_project: Project) -> Iterator[Stack]:
    """A stack with an engine and three pets."""
    write(module_project, lines_of(PETS))
    run = module_project.run()
    with running(run):
        yield run.bring("s")


@pytest.fixture
def engine(stack: Stack) -> PlainSearch:
    """Its engine."""
    return engine_of(stack)


def asker(engine: PlainSearch, **probe: Any) -> Any:
    """Return a probe of an engine as something to ask."""
    target = Target("search", "s", {9200: (engine.host, engine.port)})
    return start_probe(Probe.model_validate({"search": probe}), 0, target)


def test_documents_have_the_ids_that_they_are_given(engine: PlainSearch) -> None:
    """An id must be what ``_id`` says, a number as text, or the line's number, and be no part of the document."""
    assert ids(engine) == {
        "rex": {"name": "Rex", "age": 3},
        "2": {"name": "Mia", "age": 5},
        "7": {"name": "Zoë", "age": 1},
    }
    assert engine.request("GET", "/pets/_mapping")["pets"]["mappings"]["properties"]["name"]["type"] == "keyword"


def test_planting_twice_gives_the_same_documents(engine: PlainSearch, tmp_path: Path) -> None:
    """A file that is planted once more must add nothing, in however many requests it goes."""
    file, mapping = tmp_path / "n.ndjson", tmp_path / "n.json"
    file.write_text("\n\n".join(json.dumps({"number": number}) for number in range(500)))
    mapping.write_text("{}")
    for _ in range(2):
        assert plant(engine, "twice", file=file, mapping=mapping) == 500
        assert engine.request("GET", "/twice/_count")["count"] == 500
    assert engine.unmet("green", {"twice": 500}) == ""
    engine.drop("twice")


def test_a_file_goes_in_many_requests(engine: PlainSearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document must arrive, and be told by its line, whichever request it was in."""
    monkeypatch.setattr(search_plain, "CHUNK", 100)
    file = tmp_path / "n.ndjson"
    file.write_text("".join(f'{{"n": {number}}}\n' for number in range(50)))
    assert plant(engine, "chunks", file=file) == 50
    assert engine.request("GET", "/chunks/_count")["count"] == 50
    file.write_text(file.read_text() + '{"n": {"o": 1}}\n')
    with pytest.raises(HarnessError, match=r"n\.ndjson:51: mapper_parsing_exception: "):
        plant(engine, "chunks", file=file)
    engine.drop("chunks")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"name": "Rex"', "pets.ndjson:2: it is no JSON: "),
        ("[1, 2]", "pets.ndjson:2: a JSON object was needed: [1, 2]"),
        ('{"_id": null, "_id": [1]}', "pets.ndjson:2: _id is [1], a text or a number was needed"),
        ('{"age": "old"}', "pets.ndjson:2: mapper_parsing_exception: failed to parse field [age] of type [integer]"),
    ],
)
def test_a_wrong_line_is_told_with_its_file_and_number(project: Project, line: str, told: str) -> None:
    """The error must have the seed, the service, the file, the line and the reason, the engine's where it is its."""
    write(project, '{"age": 1}\n' + line + '\n{"age": 2}\n')
    run = project.run()
    with pytest.raises(BrokenStack) as caught, running(run):
        run.bring("s")
    assert f"Seed 'pets' in 'search': {told}" in str(caught.value)


def test_a_mapping_that_conflicts_is_told_in_the_engines_words(engine: PlainSearch, tmp_path: Path) -> None:
    """The error must name the mapping's file and say what cannot be changed."""
    mapping = tmp_path / "other.json"
    mapping.write_text(json.dumps({"properties": {"age": {"type": "text"}}}))
    with pytest.raises(HarnessError, match=r"other\.json: illegal_argument_exception: mapper \[age\] cannot"):
        plant(engine, "pets", mapping=mapping)
    mapping.write_text("{]")
    with pytest.raises(HarnessError, match=r"other\.json: it is no JSON: "):
        plant(engine, "pets", mapping=mapping)
    mapping.write_text("[]")
    with pytest.raises(HarnessError, match=r"other\.json: it is no JSON object"):
        plant(engine, "pets", mapping=mapping)


def test_an_index_that_is_read_only_is_told_as_that(engine: PlainSearch, tmp_path: Path) -> None:
    """A seed of a read-only index must fail with the engine's words, and such an index can be dropped."""
    file = tmp_path / "n.ndjson"
    file.write_text('{"n": 1}\n')
    plant(engine, "closed", file=file)
    engine.request("PUT", "/closed/_settings", b'{"index.blocks.read_only": true}')
    with pytest.raises(HarnessError, match=r"n\.ndjson:1: cluster_block_exception: .* read-only"):
        plant(engine, "closed", file=file)
    engine.drop("closed")
    engine.drop("closed")
    assert engine.unmet("green", {"closed": 0}) == "index 'closed' does not exist"


def test_the_probe_says_which_documents_lack(engine: PlainSearch) -> None:
    """It must hold with as many documents or more, and else name the index and both numbers."""
    assert asker(engine, indices={"pets": 3}).ask() == ""
    assert asker(engine, indices={"pets": 2}, port=9200).ask() == ""
    assert asker(engine, indices={"pets": 13}).ask() == "index 'pets' has 3 of 13 documents"
    assert asker(engine, indices={"owners": 1}).ask() == "index 'owners' does not exist"


def test_the_probe_counts_documents_that_no_search_has_seen(engine: PlainSearch) -> None:
    """It must refresh before it counts."""
    engine.make("fresh", {"settings": {"number_of_replicas": 0, "refresh_interval": -1}})
    engine.request("PUT", "/fresh/_doc/1", b"{}")
    assert asker(engine, indices={"fresh": 1}).ask() == ""
    engine.drop("fresh")


def test_the_probe_says_why_the_health_is_not_green(engine: PlainSearch) -> None:
    """An index that wants replicas on one node must be named; yellow may be enough."""
    engine.make("twins", {"settings": {"number_of_replicas": 1}})
    told = "health is yellow, green was needed: index 'twins' is yellow, since it wants 1 replica on 1 node"
    assert asker(engine).ask() == told
    assert asker(engine, status="yellow").ask() == ""
    engine.drop("twins")


def test_who_is_no_search_engine_is_told_as_that() -> None:
    """An answer that no engine gives must be shown, and a port that refuses be told as that."""
    with Web((200, b"hello")).running() as web:
        host, port = "127.0.0.1", web.port
        told = asker(PlainSearch(host, port)).ask()
    assert told == "it does not answer as a search engine: status 200, 'hello'"
    assert "Connection refused" in asker(PlainSearch(host, port)).ask()


def test_a_stack_waits_for_its_documents(project: Project) -> None:
    """A probe that wants more than there is must end the wait with what lacks."""
    write(project, lines_of(PETS), ready=[{"search": {"indices": {"owners": 3}}}])
    run = project.run()
    with pytest.raises(BrokenStack, match="index 'owners' does not exist"), running(run):
        run.bring("s")


def test_a_probe_waits_for_documents_of_seeds_when_these_were_planted(project: Project) -> None:
    """What a seed brings must not be waited for before it, and must be there after it."""
    write(project, lines_of(PETS), ready=[{"search": {"indices": {"pets": 3}}}])
    run = project.run()
    with running(run):
        assert engine_of(run.bring("s")).unmet("green", {"pets": 3}) == ""
    write(project, lines_of(PETS), ready=[{"search": {"indices": {"pets": 4}}}])
    run = project.run()
    with pytest.raises(BrokenStack, match="index 'pets' has 3 of 4 documents"), running(run):
        run.bring("s")


def test_a_reset_brings_back_what_was_seeded(stack: Stack, engine: PlainSearch) -> None:
    """Documents that were changed, added or deleted, and an index that is gone, must be as the seed made them."""
    before = ids(engine)
    engine.request("PUT", "/pets/_doc/rex?refresh=true", b'{"name": "Max"}')
    engine.request("PUT", "/pets/_doc/new?refresh=true", b'{"name": "New"}')
    engine.request("DELETE", "/pets/_doc/7?refresh=true")
    stack.service("search").reset()
    assert ids(engine) == before
    engine.request("DELETE", "/pets")
    stack.service("search").reset()
    assert ids(engine) == before


def test_a_store_without_seeds_is_not_reset(project: Project) -> None:
    """A reset that has nothing to bring back must say so."""
    write(project, "")
    project.stack("s", {"search": {"image": "x", "ports": ["9200"], "x-harness": {"embedded": {"preset": "search"}}}})
    run = project.run()
    with running(run):
        stack = run.bring("s")
        with pytest.raises(Unsupported, match="no seed fills an index of it"):
            stack.service("search").reset()


@pytest.mark.parametrize(
    ("seed", "told"),
    [
        ({"file": "none.ndjson"}, "none.ndjson does not exist"),
        ({"mapping": "none.json"}, "none.json does not exist"),
        ({"service": "serach"}, "service 'serach' does not exist; did you mean 'search'?"),
        ({"index": "Pets"}, "index"),
        ({"file": None, "mapping": None}, "needs a file of documents, a mapping, or both"),
    ],
)
def test_a_seed_that_cannot_be_is_told_when_it_is_read(project: Project, seed: dict[str, Any], told: str) -> None:
    """A name or file that is not there, and an index that no engine would make, must be told before anything starts."""
    write(project, "", **seed)
    with pytest.raises(ConfigError) as caught:
        project.run().bring("s")
    assert told in str(caught.value)


def test_a_mapping_becomes_a_body_without_replicas() -> None:
    """Mappings alone must be taken as such, a body as it is, and what it says of replicas must stay."""
    assert index_body(MAPPING) == {"mappings": MAPPING, "settings": {"index.number_of_replicas": 0}}
    assert index_body({})["settings"] == {"index.number_of_replicas": 0}
    for settings in ({"number_of_replicas": 1}, {"index": {"number_of_replicas": 2}}, {"index.number_of_replicas": 3}):
        assert index_body({"settings": settings}) == {"settings": settings}


def test_a_reason_has_what_caused_it() -> None:
    """The engine's word, its reason and the last cause must be told in one line; a full heap is called that."""
    cause = {"type": "number_format_exception", "reason": "For input string: old"}
    error = {"type": "mapper_parsing_exception", "reason": "failed to\nparse", "caused_by": cause}
    assert reason_of(error) == (
        "mapper_parsing_exception",
        "mapper_parsing_exception: failed to parse: For input string: old",
    )
    heap = {"type": "circuit_breaking_exception", "reason": "[parent] Data too large"}
    assert reason_of(heap)[1] == "circuit_breaking_exception: the engine is out of heap: [parent] Data too large"
    assert reason_of("no handler found")[1] == "no handler found"


def test_an_error_has_its_status(engine: PlainSearch) -> None:
    """A refusal must have the HTTP status and the engine's word for it."""
    with pytest.raises(SearchRefusal) as caught:
        engine.request("GET", "/none/_count")
    assert (caught.value.status, caught.value.kind) == (404, "index_not_found_exception")
