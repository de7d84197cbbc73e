"""What nobody may read in a notice: secrets that are known, and what looks like one."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

from harness.helpers.http_plain import mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SHORTEST = 4  # characters of a secret that is known; a shorter one would be found in any text
_TELLING = re.compile(
    r"token|secret|passw|pwd|credential|auth|(api|access|private|signing|encryption|account)[-_]?key|webhook|dsn",
    re.IGNORECASE,
)
_NAME = r"[\w.-]*(?:token|secret|passw(?:or)?d|passwd|credential|api[-_]?key|access[-_]?key|private[-_]?key)[\w.-]*"
_ASSIGNED = re.compile(rf"(?i)\b({_NAME}[\"']?\s*(?:=(?!=)|:(?!:))\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&\"'}}\])]+)")
_CREDENTIALS = re.compile(r"(?i)\b(bearer|basic|digest|token)(\s+)[\w.~+/=-]{8,}")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_IN_URL = re.compile(r"([a-z][a-z0-9+.-]*://)[^/\s@]+@", re.IGNORECASE)
_WORDS = frozenset({"true", "false", "none", "null", "trust"})
MARK = "***"


class Redactor:
    """Takes secrets out of texts.

    Args:
        known: those that are known, in any form; also base64, percent-encoded and as in JSON they are found.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        forms = {form for secret in known for part in _parts(secret) for form in _forms(part)}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._known = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def clean(self, text: str) -> str:
        """Return ``text`` without secrets."""
        text = _PEM.sub(MARK, text)
        text = self._known.sub(MARK, text) if self._known else text
        text = _IN_URL.sub(rf"\1{MARK}@", mask(text))
        return _ASSIGNED.sub(rf"\1{MARK}", _CREDENTIALS.sub(rf"\1\2{MARK}", text))


def _parts(secret: str) -> list[str]:
    """Return a secret, and each line of one that has several: a log may have cut it there."""
    lines = [line.strip() for line in secret.splitlines()]
    return [part for part in dict.fromkeys((secret.strip(), *lines)) if len(part) >= SHORTEST]


def _forms(secret: str) -> list[str]:
    data = secret.encode(errors="surrogateescape")
    encoded = [base64.b64encode(data[shift:]).decode().rstrip("=") for shift in range(3)]
    inside = [text[1:-1] for text in encoded if len(text) >= 3 * SHORTEST]  # the ends depend on what stands beside it
    return [secret, quote(data, safe=""), quote_plus(data), json.dumps(secret)[1:-1], *inside]


def secrets_in(variables: Mapping[str, str]) -> list[str]:
    """Return the values of variables whose names say that they are secret."""
    return [value for name, value in variables.items() if _TELLING.search(name) and _may_be_secret(value)]


def _may_be_secret(value: str) -> bool:
    return len(value) >= SHORTEST and value.lower() not in _WORDS and not value.isdecimal()
