"""Consumers of whole topics, whose waits end at a deadline, at a dead service, or with what was wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.clock import Deadline
from harness.errors import WaitTimeout
from harness.helpers.kafka.messages import Message, UnexpectedMessage
from harness.helpers.kafka.reader import TopicReader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


class KafkaConsumer(TopicReader):
    """A consumer of whole topics, by assignment. Made by ``Kafka.consumer``; it belongs to one thread at a time.

    It sees committed transactions only. Every wait raises BrokenStack soon after a service in use has died, and
    KafkaFailure when the broker reports an error that does not pass by itself.
    """

    def wait_for(
        self, wanted: Callable[[Message], object], timeout: float | None = None, *, what: str = "matching message"
    ) -> Message:
        """Return the first message for which ``wanted`` is true.

        Raises:
            WaitTimeout: none came in ``timeout`` seconds (default: ``patience``); it lists what came instead.
        """
        __tracebackhide__ = True
        return self.wait_for_n(1, wanted, timeout, what=what)[0]

    def wait_for_n(
        self,
        count: int,
        wanted: Callable[[Message], object] = lambda _: True,
        timeout: float | None = None,
        *,
        what: str = "",
    ) -> list[Message]:
        """Return the first ``count`` messages for which ``wanted`` is true, in the order of their arrival.

        Raises:
            WaitTimeout: fewer came in ``timeout`` seconds; the error lists what came.
        """
        __tracebackhide__ = True
        timeout = self._patience if timeout is None else timeout
        messages: list[Message] = []
        before = self._count

        def enough(message: Message) -> bool:
            if wanted(message):
                messages.append(message)
            return len(messages) == count

        if self._look(Deadline.patient(timeout), enough):
            return messages
        came = self._count - before
        want = what or "messages"
        raise WaitTimeout(
            f"Topic {self._name}: {len(messages)} of {count} {want} came in {timeout:g} s, {came} in all",
            details=[
                *([f"  {message}" for message in list(self._seen)[-came:]] if came else ["  none at all"]),
                *([] if came else self._connection.trouble()),
            ],
        )

    def collect_until(
        self, wanted: Callable[[Message], object], timeout: float | None = None, *, what: str = "matching message"
    ) -> list[Message]:
        """Return every message up to and with the first for which ``wanted`` is true. Raises WaitTimeout."""
        __tracebackhide__ = True
        came: list[Message] = []

        def keep(message: Message) -> object:
            came.append(message)
            return wanted(message)

        self.wait_for(keep, timeout, what=what)
        return came

    def wait_for_schema(
        self, schema: str, timeout: float | None = None, *, skip: Collection[str] | None = None
    ) -> Message:
        """Return the first message whose FlatBuffers file identifier is ``schema``.

        Args:
            schema: the identifier.
            timeout: seconds, ``patience`` by default.
            skip: the identifiers of messages that may come before it, as in ``skip=["x5f2"]``; any other is an error
                at once. None: whatever else comes is passed over.

        Raises:
            WaitTimeout: none came; the error lists what came.
            UnexpectedMessage: a message of a schema that is neither wanted nor skipped came.
        """
        __tracebackhide__ = True
        passed = {skip} if isinstance(skip, str) else skip

        def matches(message: Message) -> bool:
            if message.schema == schema:
                return True
            if passed is not None and message.schema not in passed:
                came = f"schema {message.schema!r}" if message.schema.isalnum() else "no schema"
                skipped = f" or {', '.join(sorted(passed))}" if passed else ""
                raise UnexpectedMessage(
                    f"Topic {message.topic}: a message of {came} came, {schema}{skipped} was needed", message
                )
            return False

        return self.wait_for(matches, timeout, what=f"message with schema {schema}")

    def expect_none(
        self, seconds: float, wanted: Callable[[Message], object] = lambda _: True, *, what: str = "message"
    ) -> None:
        """Do nothing when no message for which ``wanted`` is true comes for ``seconds`` from now on.

        What the broker had when the window ended is looked at, however long it takes to arrive here (at most another
        ``patience``). Unread messages from before the window count: ``seek_to_end`` leaves them out.

        Raises:
            UnexpectedMessage: one came; at once, without waiting for the end of the window.
            WaitTimeout: what the broker had could not be read to its end.
        """
        __tracebackhide__ = True
        window = Deadline.after(seconds)

        def refuse(message: Message) -> bool:
            if wanted(message):
                raise UnexpectedMessage(
                    f"Topic {message.topic}: a {what} came after {window.elapsed():.2f} s, none was to come in "
                    f"{seconds:g} s",
                    message,
                )
            return False

        self._look(window, refuse)
        if not self._look_to_end(Deadline.after(self._patience), refuse):
            raise WaitTimeout(
                f"Topic {self._name}: not read to its end {self._patience:g} s after the window of {seconds:g} s",
                details=self._connection.trouble(),
            )
