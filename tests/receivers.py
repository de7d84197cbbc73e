"""A receiver of mail for tests, a real one, on the loopback interface."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from typing import TYPE_CHECKING

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

if TYPE_CHECKING:
    from aiosmtpd.smtp import SMTP, Envelope, Session

PASSWORD = "s3cr3t-mail"


class _OnAnyPort(Controller):  # type: ignore[misc] # it has no types
    """A mail server on a port that the kernel chooses; its own code would ask for it at port 0."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


class Mailbox:
    """A mail server that wants a password.

    Attributes:
        answer: what it says to a mail.
        mails: those that it took.
    """

    def __init__(self) -> None:
        self.answer = "250 OK"
        self.mails: list[EmailMessage] = []
        self._controller = _OnAnyPort(
            self,
            hostname="127.0.0.1",
            port=0,
            authenticator=self._authenticate,
            auth_require_tls=False,
        )

    def _authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _how: str, data: object
    ) -> AuthResult:
        good = isinstance(data, LoginPassword) and data.password == PASSWORD.encode()
        return AuthResult(success=good, handled=False)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
        """Take a mail, or refuse it."""
        if self.answer.startswith("250"):
            content = envelope.content
            assert isinstance(content, bytes)
            mail = email.message_from_bytes(content, policy=email.policy.default)
            assert isinstance(mail, EmailMessage)
            self.mails.append(mail)
        return self.answer

    def start(self) -> None:
        """Begin to listen."""
        self._controller.start()

    def stop(self) -> None:
        """Listen no longer."""
        self._controller.stop()

    @property
    def url(self) -> str:
        """What Apprise is given, for one receiver."""
        return f"mailto://ci:{PASSWORD}@127.0.0.1:{self._controller.port}?from=ci@example.org&to=ops@example.org"
