"""What went wrong at a search engine, in its own words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opensearchpy import ConnectionError as NoConnection
from opensearchpy import ConnectionTimeout, TransportError

from harness.errors import HarnessError
from harness.helpers.search_plain import reason_of

if TYPE_CHECKING:
    from opensearchpy import OpenSearchException


class SearchFailure(HarnessError):
    """An engine refused a request, or did not answer it.

    Attributes:
        status: the HTTP status, 0 without an answer.
        kind: the engine's word for it, such as ``cluster_block_exception``; "" without one.
    """

    def __init__(self, summary: str, *, status: int = 0, kind: str = "") -> None:
        super().__init__(summary)
        self.status = status
        self.kind = kind


def failure(error: OpenSearchException, what: str) -> SearchFailure:
    """Return an error of the library as one of ours; ``what`` was asked."""
    if isinstance(error, ConnectionTimeout):
        return SearchFailure(f"{what}: no answer in time")
    if isinstance(error, NoConnection):
        return SearchFailure(f"{what}: {' '.join(str(error.error).split())[:200]}")
    if isinstance(error, TransportError):
        info: Any = error.info
        told = info.get("error", info) if isinstance(info, dict) else info or error.error
        kind, words = reason_of(told)
        status = error.status_code if isinstance(error.status_code, int) else 0
        return SearchFailure(f"{what}: {status} {words}", status=status, kind=kind)
    return SearchFailure(f"{what}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
