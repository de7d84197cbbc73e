"""To whom it is told how runs end, ``[tool.harness.notices]``: names of variables and files that have the URLs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.config.options import VARIABLE_NAME
from harness.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NOTICE_KEYS: dict[str, type] = {"urls": list, "runs": str}
_URL = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*:/")
HINT = 'put the URL into a variable, such as NOTICE_MAIL, or into a file that only you can read, and name that: urls = ["NOTICE_MAIL"]'  # noqa: E501 - a sentence


@dataclass(frozen=True)
class Notices:
    """Where notices go; the URLs themselves are secrets and stand in no file of the project.

    Attributes:
        urls: names of variables, and paths of files (they have a ``/``), that have URLs.
        runs: the address below which run folders are found, "" for none.
    """

    urls: tuple[str, ...] = ()
    runs: str = ""


def read_notices(table: Mapping[str, Any], pyproject: Path) -> Notices:
    """Return what ``[tool.harness.notices]`` says. Raises ConfigError with everything that is wrong in it."""
    where = f"{pyproject}: [tool.harness.notices]"
    problems, hint = [], ""
    for key, value in table.items():
        if key not in NOTICE_KEYS:
            problems.append(f"{where}: key {key!r} is not known{nearest(key, NOTICE_KEYS)}")
        elif not isinstance(value, NOTICE_KEYS[key]):
            problems.append(f"{where}: {key} is {type(value).__name__}, a {NOTICE_KEYS[key].__name__} was needed")
    names = table.get("urls", [])
    for number, name in enumerate(names if isinstance(names, list) else [], 1):
        if not isinstance(name, str) or not name.strip():
            problems.append(f"{where}: entry {number} of urls is no name of a variable or file")
        elif _URL.match(name):  # which is not shown: it may be a secret from its first letter on
            problems.append(f"{where}: entry {number} of urls is a URL; those have passwords and tokens in them")
            hint = HINT
        elif "/" not in name and not VARIABLE_NAME.fullmatch(name):
            problems.append(f"{where}: entry {number} of urls is neither a name of a variable nor a path with a /")
            hint = HINT
    runs = table.get("runs", "")
    if isinstance(runs, str) and runs and not re.match(r"https?://[^\s@]+$", runs):
        problems.append(f"{where}: runs is no http:// or https:// address without user and password")
    if problems:
        raise ConfigError.of(problems, hint=hint)
    return Notices(tuple(names), runs)
