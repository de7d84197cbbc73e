"""Any schema, read and written by reflection, against flatc and the verifier of the C++ library."""

from __future__ import annotations

import os
import random
import re
import shutil
import sysconfig
from pathlib import Path
from typing import Any

import ark_fbs
import numpy as np
import pytest
from checkout import TESTS
from flatbuffers import Builder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wide_values import ROOT, agrees, from_json, plain, to_json

from harness import procs
from harness.errors import ConfigError
from harness.helpers import flatbuffers
from harness.helpers.flatbuffers import BadBuffer, BadValue, codecs

SCHEMAS = TESTS / "schemas"
WIDE = flatbuffers.read_schema(SCHEMAS / "wide.fbs")
VERIFIER = ark_fbs.Schema.from_fbs_file(str(SCHEMAS / "wide.fbs"))
FLATC = shutil.which("flatc", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])) or "flatc"
EXAMPLES = settings(
    max_examples=80, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def flatc(folder: Path, *words: str) -> None:
    """Run flatc, writing into a folder."""
    done = procs.run([FLATC, "-o", str(folder), *words], timeout=30)
    assert done.code == 0, done.stdout + done.stderr


def as_json(buffer: bytes, folder: Path) -> Any:
    """Return what flatc reads in a message of the wide schema."""
    raw = folder / "message.bin"
    raw.write_bytes(buffer)
    flatc(folder, "--json", "--strict-json", "--defaults-json", str(SCHEMAS / "wide.fbs"), "--", str(raw))
    return from_json((folder / "message.json").read_text())


def from_flatc(text: str, folder: Path) -> bytes:
    """Return the message that flatc makes of JSON."""
    (folder / "given.json").write_text(text)
    flatc(folder, "-b", str(SCHEMAS / "wide.fbs"), str(folder / "given.json"))
    return (folder / "given.bin").read_bytes()


def verify(buffer: bytes) -> None:
    """Check a message with the verifier of the C++ library: offsets, alignment, required fields."""
    try:
        VERIFIER.binary_to_json(buffer)
    except ark_fbs.VerifyError as error:
        # It cannot print every struct; that comes after the verification.
        if "GenerateText" not in str(error):
            raise


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the registry back after the test."""
    monkeypatch.setattr(codecs, "decoders", dict(codecs.decoders))
    monkeypatch.setattr(codecs, "encoders", dict(codecs.encoders))


# Values there and back


@EXAMPLES
@given(ROOT)
def test_values_come_back_as_they_went(value: dict[str, Any]) -> None:
    """What was encoded must decode to the same, every field of it, also size-prefixed."""
    buffer = WIDE.encode(value)
    assert plain(WIDE.decode(buffer)) == plain(value)
    verify(buffer)
    prefixed = WIDE.encode(value, size_prefixed=True)
    assert plain(WIDE.decode(prefixed, size_prefixed=True)) == plain(value)


@EXAMPLES
@given(value=ROOT)
def test_flatc_reads_what_was_encoded(tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]) -> None:
    """The compiler of the format must read each field of an encoded message as it was meant."""
    seen = as_json(WIDE.encode(value), tmp_path_factory.getbasetemp())
    needed = plain(value)
    assert [name for name in needed if not agrees(seen.get(name), needed[name], name)] == []


@EXAMPLES
@given(value=ROOT)
def test_what_flatc_wrote_is_decoded(tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]) -> None:
    """A message that the compiler of the format made must decode to the values that it was given, to the bit."""
    buffer = from_flatc(to_json(value), tmp_path_factory.getbasetemp())
    seen, needed = plain(WIDE.decode(buffer)), plain(value)
    assert {name: seen[name] for name in needed if seen[name] != needed[name]} == {}


def test_vectors_of_numbers_are_arrays_and_all_else_is_plain() -> None:
    """Each kind of field must come as the type that the documentation says."""
    decoded = WIDE.decode(
        WIDE.encode(
            {
                "must": "ä",
                "f64s": [1, 2],
                "flags": [True],
                "kinds": ["Door"],
                "packed": {"text": "in it"},
                "cells": [],
                "colours": {"Green", "Blue"},
                "level": "Top",
            }
        )
    )
    assert isinstance(decoded["f64s"], np.ndarray)
    assert (decoded["f64s"].dtype, decoded["flags"].dtype) == (np.dtype("float64"), np.dtype(bool))
    assert (decoded["kinds"], decoded["cells"], decoded["colours"]) == (["Door"], [], ["Green", "Blue"])
    assert (decoded["packed"], decoded["level"], decoded["maybe_i64"]) == ({"text": "in it", "stars": 3}, "Top", None)
    assert "old" not in decoded
    assert decoded["i64"] == -(2**63)


def test_shared_strings_and_vtables_are_written_once() -> None:
    """A text that comes often must be in the buffer once, and equal tables must share their vtable."""
    note = {"text": "the same text again", "stars": 9}
    few, many = (WIDE.encode({"must": "x", "notes": [note] * count}) for count in (1, 101))
    assert many.count(b"the same text again") == 1
    assert len(many) - len(few) <= 100 * (4 + 4 + 4 + 4)  # its place in the vector; vtable, text and stars, padded
    assert WIDE.decode(many)["notes"] == [note] * 101


def test_a_forced_alignment_is_kept() -> None:
    """A vector with force_align must start at a multiple of that, whatever is written before it."""
    marked = np.array([1.25, 3.5, 7.75], np.float32)
    starts = {
        WIDE.encode({"must": "x" * length, "aligned": marked}).index(marked.tobytes()) % 16 for length in range(32)
    }
    assert starts == {0}


def test_numbers_without_a_name_stay_numbers() -> None:
    """An enum's number that the schema does not know, as a newer sender may write, must be kept."""
    decoded = WIDE.decode(WIDE.encode({"must": "", "kind": 12, "colours": ["Red", 128], "kinds": [7, 8]}))
    assert (decoded["kind"], decoded["colours"], decoded["kinds"]) == (12, ["Red", 128], ["Door", 8])


def test_keyed_vectors_are_sorted() -> None:
    """Vectors of what has a key must be written in its order, as receivers search them."""
    decoded = WIDE.decode(
        WIDE.encode(
            {
                "must": "",
                "tags": [{"name": "b"}, {"name": "ä"}, {"name": "a"}],
                "numbered": [{"number": 3}, {}, {"number": -1}],
                "smalls": [{"id": 200, "weight": 1}, {"id": 3, "weight": 2}],
            }
        )
    )
    assert [tag["name"] for tag in decoded["tags"]] == ["a", "b", "ä"]
    assert [table["number"] for table in decoded["numbered"]] == [-1, 0, 3]
    assert [table["id"] for table in decoded["smalls"]] == [3, 200]


def test_arrays_that_fit_are_taken_and_others_refused() -> None:
    """An array of another type must be taken where no element can change, and refused where one would."""
    decoded = WIDE.decode(
        WIDE.encode({"must": "", "i64s": np.array([1, -2], np.int8), "f32s": np.array([0.5]), "u8s": b"a"})
    )
    assert (decoded["i64s"].tolist(), decoded["f32s"].tolist(), decoded["u8s"].tolist()) == ([1, -2], [0.5], [97])
    with pytest.raises(BadValue) as caught:
        WIDE.encode({"must": "", "i8s": np.array([1, 2, 300])})
    assert str(caught.value) == "i8s[2]: 300 (int) was given, byte was needed"


# What does not fit


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "must: nothing was given, text (required) was needed"),
        ({"must": 3}, "must: 3 (int) was given, text was needed"),
        ({"must": "", "i8": 128}, "i8: 128 (int) was given, byte was needed"),
        ({"must": "", "u64": -1}, "u64: -1 (int) was given, ulong was needed"),
        ({"must": "", "i32": 1.5}, "i32: 1.5 (float) was given, int was needed"),
        ({"must": "", "i32": True}, "i32: True (bool) was given, int was needed"),
        ({"must": "", "i32": None}, "i32: None (NoneType) was given, int was needed"),
        ({"must": "", "f32": 1e300}, "f32: 1e+300 (float) was given, float was needed"),
        ({"must": "", "flag": 1}, "flag: 1 (int) was given, True or False was needed"),
        (
            {"must": "", "kind": "Dor"},
            "kind: 'Dor' was given, a member of places.Kind (Sample, Empty, Door) was needed; did you mean 'Door'?",
        ),
        ({"must": "", "note": []}, "note: [] (list) was given, the fields of wide.Note as a dict was needed"),
        ({"must": "", "texts": "ab"}, "texts: 'ab' (str) was given, a list of text was needed"),
        ({"must": "", "inner": {"next": {}}}, "inner.label: nothing was given, text (required) was needed"),
        (
            {"must": "", "point": {"x": 1}},
            "point.y: nothing was given, double (structs have all of their fields) was needed",
        ),
        (
            {"must": "", "things_type": ["text"], "things": []},
            "things: 0 values with 1 types was given, one type for each",
        ),
        (
            {"must": "", "thing": "x"},
            "thing_type: nothing was given, the name of what thing is (Note, places_Point, tex",
        ),
        ({"must": "", "notes": [{}, {"stars": "1"}]}, "notes[1].stars: '1' (str) was given, byte was needed"),
        ({"must": "", "name": "\ud800"}, "name: '\\ud800' (str) was given, text that UTF-8 can hold was needed"),
        ([], "the message: [] (list) was given, the fields of wide.Root as a dict was needed"),
    ],
    ids=str,
)
def test_a_value_that_does_not_fit_is_refused_with_its_path(value: Any, text: str) -> None:
    """The error must have the path, what was given and what was needed."""
    with pytest.raises(BadValue) as caught:
        WIDE.encode(value)
    assert text in caught.value.summary


def test_an_unknown_field_names_the_nearest() -> None:
    """A field that is not in the schema must be refused with the nearest one."""
    with pytest.raises(BadValue) as caught:
        WIDE.encode({"must": "", "notes": [{"star": 1}]})
    assert caught.value.summary == (
        "notes[0].star: an unknown field was given, one of wide.Note's (text, stars) was needed; did you mean 'stars'?"
    )
    with pytest.raises(BadValue, match=r"^old: a deprecated field was given"):
        WIDE.encode({"must": "", "old": 1})


def test_a_value_in_itself_is_refused() -> None:
    """A dict that holds itself must be refused, not followed for ever."""
    inner: dict[str, Any] = {"label": "x"}
    inner["next"] = inner
    with pytest.raises(BadValue) as caught:
        WIDE.encode({"must": "", "inner": inner})
    assert "at most 64 tables in tables" in caught.value.summary


# Hostile input


def accepted(buffer: bytes, *, size_prefixed: bool = False) -> bool:
    """Return whether a buffer decodes; anything raised but BadBuffer goes through."""
    try:
        WIDE.decode(buffer, size_prefixed=size_prefixed)
    except BadBuffer:
        return False
    return True


@EXAMPLES
@given(ROOT, st.randoms(use_true_random=False))
def test_mutated_messages_decode_or_are_bad_buffers(value: dict[str, Any], chance: random.Random) -> None:
    """Whatever bytes change or are cut off, decoding must give a value or BadBuffer, and nothing else."""
    message = WIDE.encode(value)
    accepted(message[: chance.randrange(len(message))])
    for _ in range(20):
        mutated = bytearray(message)
        for _ in range(chance.randint(1, 4)):
            mutated[chance.choice([8 + chance.randrange(40), chance.randrange(len(mutated))]) % len(mutated)] = (
                chance.choice([0, 1, 4, 0x7F, 0x80, 0xFF, chance.randrange(256)])
            )
        mutated[4:8] = b"WIDE"
        accepted(bytes(mutated))


@EXAMPLES
@given(st.binary(max_size=200))
def test_noise_decodes_or_is_a_bad_buffer(noise: bytes) -> None:
    """Any bytes behind a right identifier must give a value or BadBuffer."""
    accepted(noise)
    accepted(noise[:4] + b"WIDE" + noise)
    accepted(noise, size_prefixed=True)


def test_every_truncation_is_refused_or_harmless() -> None:
    """A message cut at any length must be refused, or decode to the whole where only padding was cut."""
    message = WIDE.encode(
        {"must": "x" * 9, "notes": [{"text": "é"}], "f64s": [1.5], "thing_type": "text", "thing": "t"}
    )
    whole = plain(WIDE.decode(message))
    wrong = [
        length
        for length in range(len(message))
        if accepted(message[:length]) and plain(WIDE.decode(message[:length])) != whole
    ]
    assert wrong == []


def test_tables_too_deep_are_refused() -> None:
    """Tables in tables beyond the limit must be refused by their depth: offsets cannot lead back, but far down."""
    builder = Builder(1024)
    label = builder.CreateString("x")
    inner = 0
    for _ in range(100):
        builder.StartObject(2)
        builder.PrependUOffsetTRelativeSlot(0, label, 0)
        builder.PrependUOffsetTRelativeSlot(1, inner, 0)
        inner = builder.EndObject()
    builder.Finish(rooted(builder, must=label, inner=inner), file_identifier=b"WIDE")
    with pytest.raises(BadBuffer) as caught:
        WIDE.decode(bytes(builder.Output()))
    assert re.search(r"inner\.next\.next.*: tables are nested more than 64 deep", caught.value.summary)


def rooted(builder: Builder, **offsets: int) -> int:
    """Write the wide schema's root table with these offsets as fields."""
    root = WIDE._encoder._model.objects[WIDE._encoder._root]
    builder.StartObject(len(root.fields))
    for name, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(root.usable[name].slot, offset, 0)
    return int(builder.EndObject())


def test_parts_that_are_shared_without_end_are_refused() -> None:
    """A small buffer whose parts are shared so that it would decode to gigabytes must be refused, soon."""
    builder = Builder(1 << 20)
    text = builder.CreateString("x" * 100_000)
    builder.StartVector(4, 10_000, 4)
    for _ in range(10_000):
        builder.PrependUOffsetTRelative(text)
    texts = builder.EndVector()
    builder.Finish(rooted(builder, must=text, texts=texts), file_identifier=b"WIDE")
    with pytest.raises(BadBuffer, match="shared so often"):
        WIDE.decode(bytes(builder.Output()))


def test_an_absent_required_field_is_a_bad_buffer() -> None:
    """A message without a field that its schema requires must be refused with the field's path."""
    builder = Builder(64)
    builder.StartObject(2)
    builder.Finish(builder.EndObject(), file_identifier=b"WIDE")
    with pytest.raises(BadBuffer, match=r"malformed or truncated: must: is required, and absent \(head: "):
        WIDE.decode(bytes(builder.Output()))


# Schemas


def test_a_registered_schema_is_decoded_and_encoded_by_its_identifier(registry: None) -> None:
    """After load_schema, the functions for all messages must serve those of the schema too."""
    assert registry is None
    flatbuffers.load_schema(SCHEMAS / "wide.fbs")
    message = flatbuffers.encode("WIDE", must="here")
    decoded = flatbuffers.decode(message)
    assert (decoded.schema, decoded.value["must"]) == ("WIDE", "here")
    with pytest.raises(BadValue) as caught:
        flatbuffers.encode("WIDE", must=1)
    assert caught.value.summary == "WIDE.must: 1 (int) was given, text was needed"


def test_a_wrong_identifier_names_both() -> None:
    """A message of another schema must be refused with both identifiers."""
    with pytest.raises(BadBuffer, match=r"^A message of schema 'f144' came, 'WIDE' was needed \(head: "):
        WIDE.decode(flatbuffers.encode("f144", source_name="a", value=1.0))


def test_a_forgotten_size_prefix_is_recognised(registry: None) -> None:
    """A size-prefixed message that is decoded as a bare one must be refused with a hint, by both ways to decode."""
    assert registry is None
    flatbuffers.load_schema(SCHEMAS / "wide.fbs")
    message = WIDE.encode({"must": ""}, size_prefixed=True)
    for decode in (WIDE.decode, flatbuffers.decode):
        with pytest.raises(BadBuffer, match="next: it looks size-prefixed: size_prefixed=True"):
            decode(message)
    assert flatbuffers.decode(message, size_prefixed=True).schema == "WIDE"
    with pytest.raises(BadBuffer, match=f"^A size prefix of {len(message) - 4} came before {len(message) - 5} bytes"):
        flatbuffers.decode(message[:-1], size_prefixed=True)


def compiled(folder: Path) -> Path:
    """Return the wide schema as .bfbs."""
    flatc(folder, "-b", "--schema", "--bfbs-builtins", str(SCHEMAS / "wide.fbs"))
    return folder / "wide.bfbs"


def test_a_binary_schema_needs_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A .bfbs must be read where flatc is not; a .fbs must say there what to install."""
    path = compiled(tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    message = flatbuffers.read_schema(path).encode({"must": "x", "colours": ["Red"]})
    assert WIDE.decode(message)["colours"] == ["Red"]
    with pytest.raises(ConfigError) as caught:
        flatbuffers.read_schema(SCHEMAS / "wide.fbs")
    assert caught.value.summary.endswith("wide.fbs needs flatc, which is not there")
    assert "integration-harness[flatbuffers]" in caught.value.hint


def test_a_broken_binary_schema_is_a_config_error(tmp_path: Path) -> None:
    """Whatever bytes of a .bfbs are changed, reading it must work or raise ConfigError."""
    whole = compiled(tmp_path).read_bytes()
    chance = random.Random("seed")  # noqa: S311 - bytes to try, no secret
    outcomes = set()
    for _ in range(300):
        mutated = bytearray(whole)
        mutated[chance.randrange(len(mutated))] = chance.randrange(256)
        path = tmp_path / "bad.bfbs"
        path.write_bytes(mutated[: chance.choice([len(mutated), chance.randrange(len(mutated))])])
        try:
            flatbuffers.read_schema(path)
        except ConfigError:
            outcomes.add("refused")
        else:
            outcomes.add("read")
    assert outcomes == {"refused", "read"}


def test_includes_are_found_in_the_folders_that_are_given(tmp_path: Path) -> None:
    """An include must be found beside the schema or in one of the folders, and flatc's words shown where it is not."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "unit.fbs").write_text("enum Unit: byte { mm, m }")
    path = tmp_path / "length.fbs"
    path.write_text('include "unit.fbs"; table Length { unit: Unit = m; } root_type Length; file_identifier "LENG";')
    with pytest.raises(ConfigError) as caught:
        flatbuffers.read_schema(path)
    assert "was refused by flatc" in caught.value.summary
    assert any("unit.fbs" in line for line in caught.value.details)
    schema = flatbuffers.read_schema(path, include=[tmp_path / "shared"])
    assert schema.decode(schema.encode({"unit": "mm"})) == {"unit": "mm"}


def test_the_root_can_be_chosen() -> None:
    """Any table of a schema can be the root; one that it does not have must be refused with the nearest."""
    note = flatbuffers.read_schema(SCHEMAS / "wide.fbs", root="Note", identifier="NOTE")
    assert (note.root, note.identifier) == ("wide.Note", "NOTE")
    assert note.decode(note.encode({"stars": 1})) == {"text": None, "stars": 1}
    with pytest.raises(ConfigError, match=r"has no table 'wide\.Not'; did you mean 'wide\.Note'\?"):
        flatbuffers.read_schema(SCHEMAS / "wide.fbs", root="wide.Not")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("none.fbs", None, "cannot be read: No such file or directory"),
        ("one.txt", "", "is neither .fbs nor .bfbs"),
        ("one.bfbs", "", "is no binary schema that can be used: A buffer of 0 bytes is no FlatBuffers message"),
        ("one.bfbs", "0000xxxx0000", "A file identifier 'xxxx' was seen, 'BFBS' was needed"),
        ("one.fbs", "table A { a: int; }", "declares no root_type"),
        ("one.fbs", "table A { a: int; } root_type A;", "declares no file_identifier"),
        ("one.fbs", "table A { a: in; } root_type A;", "was refused by flatc"),
    ],
)
def test_a_schema_that_cannot_be_used_says_why(tmp_path: Path, name: str, text: str | None, problem: str) -> None:
    """A missing, wrong or incomplete schema must be refused with its path and what is wrong."""
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        flatbuffers.load_schema(path)
    assert caught.value.summary.startswith(f"Schema {path}")
    assert problem in caught.value.summary
