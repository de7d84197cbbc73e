"""What a Redis server has that a test may leave: its keys, told cheaply, listed, and removed by how they begin."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from harness.clock import now
from harness.helpers.redis_plain import PlainRedis, Refusal

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from harness.stack import Store

MANY = 5000  # keys of a database that are listed one by one; of more only the number is told
_LINE = re.compile(r"^db(\d+):keys=(\d+)", re.MULTILINE)
_CHANGES = re.compile(r"^(rdb_changes_since_last_save|rdb_last_save_time|loading):(\d+)", re.MULTILINE)
# One question for all keys: an answer for each would take a client longer than the server needs for this. An
# empty table is an object in its JSON.
_LISTING = """
local lengths = {string='STRLEN', list='LLEN', set='SCARD', zset='ZCARD', hash='HLEN', stream='XLEN'}
local found, cursor = {}, '0'
repeat
  local part = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 1000)
  cursor = part[1]
  for _, key in ipairs(part[2]) do
    local kind = redis.call('TYPE', key).ok
    local length = lengths[kind] and redis.call(lengths[kind], key) or -1
    found[#found + 1] = {key, kind, redis.call('PTTL', key), length}
  end
until cursor == '0'
return #found > 0 and cjson.encode(found) or '[]'
"""


class RedisState:
    """The keys of a server, in all its databases.

    Args:
        store: the service.
        within: seconds for each answer.

    Raises:
        OSError: nobody listens there.
        Refusal: the password is not its.
    """

    def __init__(self, store: Store, *, within: float) -> None:
        self._redis = PlainRedis(store.host, store.port, store.login.password, timeout=within)
        # Keys whose time ends by itself: name -> their detail, and when that is. They stay in what is seen then: that
        # they are gone is no test's doing.
        self._ending: dict[str, tuple[str, float]] = {}

    def close(self) -> None:
        """Disconnect."""
        self._redis.close()

    def glance(self) -> Hashable:
        """Return counters that are equal as long as nothing was written. Raises Refusal, OSError."""
        return tuple(_CHANGES.findall(self._info("persistence"))), tuple(self._sizes().items())

    def look(self) -> Mapping[str, str]:
        """Return thing -> its detail. Raises Refusal, OSError."""
        found: dict[str, str] = {}
        for database, size in self._sizes().items():
            self._redis.ask("SELECT", str(database))
            if size > MANY:
                found[f"keys of database {database}"] = f"{size} keys"
            else:
                found |= self._details(database)
        moment = now()
        self._ending = {name: end for name, end in self._ending.items() if name in found or end[1] <= moment}
        return {**{name: detail for name, (detail, at) in self._ending.items() if at <= moment}, **found}

    def _info(self, section: str) -> str:
        return str(self._redis.ask("INFO", section)).replace("\r", "")

    def _sizes(self) -> dict[int, int]:
        return {int(number): int(keys) for number, keys in _LINE.findall(self._info("keyspace"))}

    def _details(self, database: int) -> dict[str, str]:
        """Return what is in the chosen database, of which this is the number."""
        found: dict[str, str] = {}
        moment = now()
        for key, kind, left, length in self._listed("*"):
            name = _name(database, key)
            found[name] = f"{kind} of {length}" if length >= 0 else kind
            if left >= 0:
                found[name] += ", which ends by itself"
                self._ending[name] = found[name], moment + left / 1000
            else:
                self._ending.pop(name, None)
        return found

    def _listed(self, pattern: str) -> list[tuple[str, str, int, int]]:
        """Return name, type, milliseconds to live (below 0: for ever) and length of the keys that a pattern fits."""
        answer = json.loads(str(self._redis.ask("EVAL", _LISTING, "0", pattern)))
        return [(key, kind, left, length) for key, kind, left, length in answer]

    def passing(self) -> Mapping[str, str]:
        """Return nothing: what is here lasts."""
        return {}

    def remove(self, prefix: str) -> Mapping[str, str]:
        """Remove keys that begin so, in all databases.

        Returns:
            What could not be removed, by its name as ``look`` has it -> why.

        Raises:
            Refusal, OSError: the server did not say what there is.
        """
        refused: dict[str, str] = {}
        for database in self._sizes():
            self._redis.ask("SELECT", str(database))
            for key, *_ in self._listed(f"{prefix}*"):
                try:
                    self._redis.ask("DEL", key)
                except Refusal as refusal:
                    refused[_name(database, key)] = refusal.summary
        return refused


def _name(database: int, key: str) -> str:
    shown = key.encode("unicode_escape").decode()
    return f"key {shown}" + (f" in database {database}" if database else "")
