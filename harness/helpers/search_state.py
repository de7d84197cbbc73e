"""What a search engine has that a test may leave: told cheaply, listed, and removed by how its name begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from harness.helpers.http_plain import Line
from harness.helpers.search_plain import PlainSearch, SearchRefusal

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    from harness.stack import Store

NOT_THERE = 404
UUID = 20  # characters of one, at least
# Where templates are -> what they are called, and the key of their list, "" where the names are keys themselves.
_TEMPLATES = {
    "_index_template": ("template", "index_templates"),
    "_template": ("legacy template", ""),
    "_component_template": ("component template", "component_templates"),
}

_Listed = tuple[dict[str, list[str]], list[tuple[str, str, str]]]  # index -> its aliases, and templates


class SearchState:
    """The indices, aliases and templates of an engine; those whose names begin with a dot are the engine's own.

    Args:
        store: the service.
        within: seconds for each answer.
    """

    def __init__(self, store: Store, *, within: float) -> None:
        self._line = Line(store.host, store.port, within)
        self._engine = PlainSearch(store.host, store.port, within, self._line)
        self._has_versions = True  # of what it knows of itself, until it is seen that it has not
        self._listed: _Listed | None = None  # by the last glance, for the look that follows it

    def close(self) -> None:
        """Disconnect."""
        self._line.close()

    def glance(self) -> Hashable:
        """Return counters that are equal as long as nothing was written. Raises SearchRefusal."""
        stats = self._stats("indexing")
        written = [(name, _counters(facts["primaries"])) for name, facts in sorted(stats.items())]
        if self._has_versions:
            state = self._engine.request("GET", "/_cluster/state/version?filter_path=version,state_uuid")
            if len(str(state.get("state_uuid", ""))) >= UUID:
                return tuple(written), str(state)
            self._has_versions = False  # what it says stays the same for ever
        self._listed = self._aliases(), self._templates()
        return tuple(written), str(self._listed)

    def look(self) -> Mapping[str, str]:
        """Return thing -> its detail. Raises SearchRefusal."""
        self._engine.request("POST", "/_refresh")  # documents that were written are counted then
        counts = {name: facts["primaries"]["docs"]["count"] for name, facts in self._stats("docs").items()}
        (of_indices, templates), self._listed = self._listed or (self._aliases(), self._templates()), None
        aliases: dict[str, list[str]] = {}
        found = {}
        for index, of_index in sorted(of_indices.items()):
            for alias in of_index:
                aliases.setdefault(alias, []).append(index)
            count = counts.get(index)
            found[f"index {index}"] = f"{count} document{'s' if count != 1 else ''}" if count is not None else "closed"
        found |= {f"alias {name}": f"of {', '.join(indices)}" for name, indices in sorted(aliases.items())}
        return found | {f"{kind} {name}": "" for _, kind, name in templates}

    def _stats(self, kinds: str) -> dict[str, Any]:
        listed = self._engine.request("GET", f"/_stats/{kinds}").get("indices", {})
        return {name: facts for name, facts in listed.items() if not name.startswith(".")}

    def _aliases(self) -> dict[str, list[str]]:
        """Return index -> its aliases."""
        listed = self._engine.request("GET", "/_alias")
        return {
            index: [name for name in sorted(facts["aliases"]) if not name.startswith(".")]
            for index, facts in sorted(listed.items())
            if not index.startswith(".")
        }

    def _templates(self) -> list[tuple[str, str, str]]:
        """Return the path, kind and name of each template."""
        found = []
        for path, (kind, key) in _TEMPLATES.items():
            listed = self._engine.request("GET", f"/{path}")
            names: Iterable[str] = [entry["name"] for entry in listed.get(key, ())] if key else listed
            found += [(path, kind, name) for name in sorted(names) if not name.startswith(".")]
        return found

    def passing(self) -> Mapping[str, str]:
        """Return nothing: what is here lasts."""
        return {}

    def remove(self, prefix: str) -> Mapping[str, str]:
        """Remove indices and templates whose names begin so, and aliases with them.

        Returns:
            What could not be removed, by its name as ``look`` has it -> why.

        Raises:
            SearchRefusal: the engine did not say what there is.
        """
        refused: dict[str, str] = {}
        for index, aliases in self._aliases().items():
            if index.startswith(prefix):
                self._try(f"index {index}", refused, "DELETE", f"/{quote(index, safe='')}")
                continue
            for alias in aliases:
                if alias.startswith(prefix):
                    path = f"/{quote(index, safe='')}/_alias/{quote(alias, safe='')}"
                    self._try(f"alias {alias}", refused, "DELETE", path)
        for path, kind, name in self._templates():
            if name.startswith(prefix):
                self._try(f"{kind} {name}", refused, "DELETE", f"/{path}/{quote(name, safe='')}")
        return refused

    def _try(self, thing: str, refused: dict[str, str], method: str, path: str) -> None:
        try:
            self._engine.request(method, path)
        except SearchRefusal as refusal:
            if refusal.status != NOT_THERE:
                refused[thing] = refusal.summary


def _counters(facts: Mapping[str, Any]) -> tuple[int, ...]:
    return facts["indexing"]["index_total"], facts["indexing"]["delete_total"]
