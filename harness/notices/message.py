"""A notice as a value, and how it is written: as text, and as HTML for mail."""

from __future__ import annotations

import html
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from harness.artifacts import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Kind = Literal["info", "success", "warning", "failure"]
LONGEST_TITLE = 120
LONGEST_LINE = 300
MOST_TESTS = 5
MOST_LOG = 3000  # characters of the part of a log


@dataclass(frozen=True)
class Message:
    """A notice, with nothing secret in it.

    Attributes:
        title: one line.
        facts: name -> value, such as the branch.
        tests: (how it ended, its name, the first line of its error) of tests, a few of them.
        more: what else there is to be said, a line each.
        log: (whose, the end of it), ("", "") for none.
        link: where the run can be looked at, a URL or a path.
        kind: what receivers that have colours make of it.
    """

    title: str
    facts: tuple[tuple[str, str], ...] = ()
    tests: tuple[tuple[str, str, str], ...] = ()
    more: tuple[str, ...] = ()
    log: tuple[str, str] = ("", "")
    link: str = ""
    kind: Kind = "info"

    def cleaned(self, clean: Callable[[str], str]) -> Message:
        """Return it with every text cleaned, of control characters too, and none longer than it may be.

        Secrets go before anything is cut: a part of one would not be known as such.
        """

        def line(text: str, most: int = LONGEST_LINE) -> str:
            shown = " ".join(printable(clean(text).encode(errors="surrogateescape")).split())
            return shown if len(shown) <= most else f"{shown[: most - 4]} ..."

        whose, end = self.log
        end = printable(clean(end).encode(errors="surrogateescape"))
        return Message(
            line(self.title, LONGEST_TITLE),
            tuple((name, line(value)) for name, value in self.facts),
            tuple((line(how), line(test), line(why)) for how, test, why in self.tests[:MOST_TESTS]),
            tuple(map(line, self.more)),
            (line(whose), end if len(end) <= MOST_LOG else f"... {end[-MOST_LOG:]}"),
            line(self.link, 2 * LONGEST_LINE),
            self.kind,
        )

    def text(self) -> str:
        """Return its body as text."""
        parts = ["\n".join(f"{name}: {value}" for name, value in self.facts)]
        parts += [f"{how}: {test}\n    {why}" for how, test, why in self.tests]
        parts += ["\n".join(self.more)] if self.more else []
        parts += [f"The end of {self.log[0]}:\n{self.log[1]}"] if self.log[1] else []
        parts += [self.link] if self.link else []
        return "\n\n".join(parts)

    def html(self) -> str:
        """Return its body as HTML, with nothing in it that a reader of mail would fetch."""
        safe = html.escape
        # No table: of that Apprise makes lines with a name or a value each, in the part of a mail that is text.
        parts = [f"<p>{'<br/>'.join(f'{safe(name)}: {safe(value)}' for name, value in self.facts)}</p>"]
        parts += [
            f"<p><b>{safe(how)}: {safe(test)}</b><br/><code>{safe(why)}</code></p>" for how, test, why in self.tests
        ]
        parts += [f"<p>{'<br/>'.join(map(safe, self.more))}</p>"] if self.more else []
        if self.log[1]:
            parts.append(f"<p>The end of {safe(self.log[0])}:</p><pre>{safe(self.log[1])}</pre>")
        if self.link.startswith(("https://", "http://")):
            parts.append(f'<p><a href="{safe(self.link)}">{safe(self.link)}</a></p>')
        elif self.link:
            parts.append(f"<p><code>{safe(self.link)}</code></p>")
        return "\n".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Message:
        """Return what ``as_dict`` gave. Raises ValueError, KeyError, TypeError: it is something else."""
        whose, end = map(str, values["log"])
        return cls(
            str(values["title"]),
            tuple((str(name), str(value)) for name, value in values["facts"]),
            tuple((str(how), str(test), str(why)) for how, test, why in values["tests"]),
            tuple(map(str, values["more"])),
            (whose, end),
            str(values["link"]),
            _kind(values["kind"]),
        )


def _kind(value: object) -> Kind:
    for kind in get_args(Kind):
        if kind == value:
            return cast("Kind", kind)
    raise ValueError(f"{value!r} is no kind of message")


def named(things: Iterable[str], what: str) -> list[str]:
    """Return a line that names things, a few of them; [] for none."""
    known = sorted(things)
    if not known:
        return []
    more = f" and {len(known) - MOST_TESTS} more" if len(known) > MOST_TESTS else ""
    return [f"{what}: {', '.join(known[:MOST_TESTS])}{more}"]
