"""How drafts differ: which words their test APIs have for the same things, and where a client's reports go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from harness.errors import ConfigError, nearest


@dataclass(frozen=True)
class Dialect:
    """One way to speak the test API, and DAP as far as clients do.

    Attributes:
        name: the drafts that it is of.
        start: the command that begins a collection.
        poll: the command that asks for it.
        verify_key: the key of ``add_task`` with the VDAF's verification key.
        tokens_apart: whether authentication tokens are told by a command of their own, after ``add_task``.
        has_expiration: whether ``add_task`` tells when a task ends.
        vdafs: kind of a VDAF -> its name.
        has_boundaries: whether a histogram is told with the boundaries of its buckets, and reports with what was
            measured; else it is told with the number of its buckets, and reports with the index of one.
        version: what DAP calls itself where shares are encrypted.
        upload: method and path of an upload, below the leader's endpoint; ``{task}`` is the task's ID.
    """

    name: str
    start: str
    poll: str
    verify_key: str
    tokens_apart: bool
    has_expiration: bool
    vdafs: Mapping[str, str]
    has_boundaries: bool = True
    version: str = "dap-02"
    upload: str = "POST upload"


_LATER = Dialect(
    name="07",
    start="collection_start",
    poll="collection_poll",
    verify_key="vdaf_verify_key",
    tokens_apart=False,
    has_expiration=True,
    vdafs={"count": "Prio3Count", "sum": "Prio3Sum", "histogram": "Prio3Histogram"},
    version="dap-07",
    upload="PUT tasks/{task}/reports",
)

DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            name="02",
            start="collect_start",
            poll="collect_poll",
            verify_key="verify_key",
            tokens_apart=True,
            has_expiration=False,
            vdafs={"count": "Prio3Aes128Count", "sum": "Prio3Aes128Sum", "histogram": "Prio3Aes128Histogram"},
        ),
        _LATER,
        replace(_LATER, name="09", has_boundaries=False, version="dap-09"),
    )
}
"""Name -> dialect: as parties of DAP's draft 02 speak, and as later ones do."""


def dialect_of(name: str | Dialect) -> Dialect:
    """Return the dialect of that name. Raises ConfigError when there is none."""
    if isinstance(name, Dialect):
        return name
    if found := DIALECTS.get(name):
        return found
    raise ConfigError(
        f"No dialect of the DAP test API is called {name!r}{nearest(name, DIALECTS)}; {', '.join(DIALECTS)} are"
    )
