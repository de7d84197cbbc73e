"""What a failed test's report shows of a search engine: the last requests of its client, and how they were answered."""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.clock import now
from harness.helpers.http_plain import mask

if TYPE_CHECKING:
    from harness.clock import Deadline

SHOWN = 10  # requests
_WIDTH = 300  # characters of a body


@dataclass(frozen=True)
class Asked:
    """One request: when (monotonic), what, and how it was answered (status 0: not at all)."""

    at: float
    request: str
    status: int
    seconds: float
    answer: str

    def __str__(self) -> str:
        told = self.answer and f", {self.answer}"
        return f"{self.request} -> {self.status or 'no answer'} in {self.seconds * 1000:.0f} ms{told}"


class Journal:
    """The last requests of one client: a witness in ``harness.witnesses``."""

    def __init__(self, url: str) -> None:
        self.subject = f"search {url}"
        self.over = False
        self._asked: deque[Asked] = deque(maxlen=SHOWN)
        self._lock = threading.Lock()

    def leave(self) -> None:
        """Note that nobody has the client any more."""
        self.over = True

    def note(self, request: str, body: object, status: int, begun: float, answer: object) -> None:
        """Note a request (``METHOD PATH``) with its body, which began at ``begun`` and has just been answered."""
        asked = Asked(begun, f"{request}{_shown(body)}", status, now() - begun, told_of(answer))
        with self._lock:
            self._asked.append(asked)

    def tell(self, since: float, deadline: Deadline | None) -> str:  # noqa: ARG002 - nobody needs to be asked
        """Return the last requests since ``since``, the newest last; "" for none."""
        with self._lock:
            asked = [one for one in self._asked if one.at >= since]
        return "\n".join(["its last requests:", *(f"  {one}" for one in asked)]) if asked else ""


def told_of(answer: object) -> str:
    """Return what an answer says of itself: hits, time, errors, or an error's reason."""
    if not isinstance(answer, dict):
        return str(answer or "")[:_WIDTH]
    words = []
    hits: Any = answer.get("hits")
    if isinstance(hits, dict):
        total = hits.get("total")
        count = total.get("value") if isinstance(total, dict) else total
        ids = [str(hit.get("_id")) for hit in hits.get("hits", ())[:5]]
        words.append(f"{count} hits" + (f" ({', '.join(ids)}{', ...' if count != len(ids) else ''})" if ids else ""))
    words += [f"{key}: {answer[key]}" for key in ("count", "took", "result", "deleted", "errors") if key in answer]
    return ", ".join(words)


def _shown(body: object) -> str:
    if body in (None, "", b""):
        return ""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body
    text = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False, default=repr)
    text = mask(" ".join(text[: 4 * _WIDTH].split()))
    return f" {text[:_WIDTH]}{'...' if len(text) > _WIDTH else ''}"
