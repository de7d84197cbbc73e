"""The snippets of docs/flatbuffers.md, run from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from checkout import ROOT

import harness
from harness.helpers.flatbuffers import codecs
from harness.helpers.kafka import Kafka

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "docs" / "flatbuffers.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

kafka_stack = harness.stack_fixture("kafka", scope="module")


@pytest.fixture
def kafka(kafka_stack: harness.Stack) -> Iterator[Kafka]:
    """A broker with the page's topic."""
    with Kafka(kafka_stack.endpoint("kafka", 9092), patience=5) as client:
        client.create_topics({"weather": 1})
        yield client
        client.delete_topics("weather")


def test_every_snippet_does_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kafka: Kafka) -> None:
    """Each Python snippet must run, its tests pass, and raise the very text that follows it, if any does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(codecs, "decoders", dict(codecs.decoders))
    monkeypatch.setattr(codecs, "encoders", dict(codecs.encoders))
    blocks = BLOCK.findall(PAGE.read_text())
    names: dict[str, Any] = {}
    done = {"fbs": 0, "python": 0, "text": 0, "tests": 0}
    for (kind, text), (following, expected) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        done[kind] += 1
        if kind == "fbs":
            (tmp_path / "schemas").mkdir()
            (tmp_path / "schemas" / "weather.fbs").write_text(text)
        elif kind == "python" and following == "text":
            with pytest.raises((harness.HarnessError, AssertionError)) as caught:
                exec(text, names)  # noqa: S102 - our own page
            assert str(caught.value) == expected.rstrip("\n")
        elif kind == "python":
            exec(text, names)  # noqa: S102 - our own page
            for name in [key for key in names if key.startswith("test_")]:
                names.pop(name)(kafka)
                done["tests"] += 1
    assert done == {"fbs": 1, "python": 7, "text": 4, "tests": 1}
