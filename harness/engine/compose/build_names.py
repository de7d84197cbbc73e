"""Names that images have in one build alone, before they get those that others use; and what dead builds left."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from harness.daemon import in_words
from harness.errors import BrokenStack, EngineUnreachableError
from harness.images import own
from harness.images.records import by_content

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from harness.docker_sdk import APIClient


class BuildNames:
    """The names of one build.

    Which it gives is noted in the cache folder first, so that the next build knows them as ours when this one is
    killed, or interrupted while an engine goes on with it.

    Args:
        client: returns a client of the engine.
        host: where that is.
        environ: tells where the cache folder is.
    """

    def __init__(self, client: Callable[[], APIClient], host: str, environ: Mapping[str, str]) -> None:
        self._client, self._host, self._environ = client, host, environ
        self._build = f"build-{secrets.token_hex(4)}"
        self._begun: set[str] = set()

    def of(self, image: str) -> str:
        """Return the name of an image in this build alone."""
        return by_content(image, self._build)

    def begin(self, images: Iterable[str]) -> None:
        """Note that images get their names now; before the first, take away those of builds that are dead."""
        if not self._begun:
            self._drop_of_dead()
        self._begun |= set(images)
        own.note_begun(self._build, self._host, map(self.of, self._begun), self._environ)

    def hold(self, image: str, identity: str) -> str:
        """Give a name to an image that is there, and return that. Raises what the SDK raises."""
        self.begin([image])
        self._client().tag(identity, image.rpartition(":")[0], self._build)
        return self.of(image)

    def drop(self, used: Collection[str], *, is_over: bool) -> None:
        """Take the names away, but not the last one of an image that is used.

        Args:
            used: images by their checkout's names.
            is_over: whether nothing comes any more of what was begun; else the next build looks once more.
        """
        if not self._begun:
            return
        is_dropped = [self._drop(self.of(image), is_used=image in used) for image in sorted(self._begun)]
        if is_over and all(is_dropped):
            own.forget_begun(self._build, self._environ)

    def _drop_of_dead(self) -> None:
        for build, names in own.begun_by_dead(self._host, self._environ).items():
            is_dropped = [self._drop(name, is_used=False) for name in names]
            if all(is_dropped):
                own.forget_begun(build, self._environ)

    def _drop(self, name: str, *, is_used: bool) -> bool:
        """Take a name away if that is right; return whether it is gone."""
        from harness.docker_sdk import ImageNotFound  # noqa: PLC0415 - a quarter of a second, only with an engine

        client: Any = self._client()
        with suppress(BrokenStack, EngineUnreachableError), in_words(f"Image {name!r}"):
            try:
                if is_used and len(client.inspect_image(name).get("RepoTags") or ()) <= 1:
                    return False
                client.remove_image(name)  # a container that runs it keeps it
            except ImageNotFound:
                pass
            return True
        return False
