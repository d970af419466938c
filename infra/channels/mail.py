"""E-mail: in by a signed webhook, as mail gateways make one of a message; out by SMTP.

The webhook takes JSON, signed as Standard Webhooks are (standardwebhooks.com):

    {"message_id": "<a@b>", "from": "ada@example.com", "to": "...", "subject": "...", "text": "...",
     "verified": true, "auto_submitted": "no", "references": "<x@y>"}

`verified` says that the gateway knows the sender to be who they say (DMARC passed): anybody can write a From. What is
not verified, or was sent by a machine, is not heard.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Any

from domain.channels.ports import (
    Account,
    Heard,
    Letter,
    ProviderAway,
    ProviderRefused,
    Received,
    Signature,
    SignatureRefused,
    Unreadable,
)
from infra.channels.calling import object_in

WINDOW_S = 300.0
SUBJECT_CHARS_MAX = 200
SMTP_S_MAX = 15.0
PORTS = (25, 465, 587)  # of those below 1024
SECURITY = ("starttls", "tls", "none")

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,250}")
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}")
_IDS = re.compile(r"(<[\x21-\x3b\x3d\x3f-\x7e]{1,250}>\s*){1,20}")

Connect = Callable[[str, int], Awaitable[Any]]


class Mail:
    """See `domain.channels.ports.Messenger`. `connect` gives a connected socket, to hosts that may be reached."""

    secret_fields = frozenset({"smtp_password", "webhook_secret"})
    text_chars_max = 100_000

    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    def problem(self, config: Mapping[str, Any]) -> tuple[str, str] | None:
        """What cannot be in the configuration."""
        host, port = config.get("smtp_host", "localhost"), config.get("smtp_port", 587)
        if not isinstance(host, str) or not _HOST.fullmatch(host):
            return "smtp_host", "must be the name of a mail server"
        if isinstance(port, bool) or not isinstance(port, int) or not (port in PORTS or 1024 <= port < 65536):
            return "smtp_port", "must be 25, 465, 587, or above 1023"
        if config.get("smtp_security", "starttls") not in SECURITY:
            return "smtp_security", f"must be one of {', '.join(SECURITY)}"
        user = config.get("smtp_username", "")
        if not isinstance(user, str) or not user.isprintable():
            return "smtp_username", "must be printable text"
        sender = config.get("from", "")
        if not isinstance(sender, str) or not sender.isprintable():
            return "from", "must be printable text"
        if sender and not _ADDRESS.fullmatch(parseaddr(sender)[1]):
            return "from", "must be an e-mail address"
        return None

    async def activated(self, account: Account, webhook_url: str) -> Mapping[str, Any]:
        """See that the mail server takes us. Where the gateway sends messages, people tell it."""
        for name in ("smtp_host", "from"):
            if not account.config.get(name):
                raise ProviderRefused(f"{name} is not configured")
        await self._with_server(account, None)
        return {"address": parseaddr(account.config["from"])[1]}

    async def deactivated(self, account: Account) -> None:
        """The gateway does not ask us."""

    def received(self, account: Account, signature: Signature, body: bytes, now_s: float) -> Received:
        """A message of the gateway's."""
        _check(account, signature, body, now_s)
        told = object_in(body)
        if told is None:
            raise Unreadable("this is no message: a JSON object is one")
        sender = parseaddr(told["from"])[1].lower() if isinstance(told.get("from"), str) else ""
        if not _ADDRESS.fullmatch(sender) or not isinstance(told.get("text"), str):
            raise Unreadable("a message has `from` and `text`")
        if told.get("verified") is not True or str(told.get("auto_submitted") or "no") != "no":
            return Received()
        id = told.get("message_id")
        about = {"subject": str(told.get("subject") or "")[:SUBJECT_CHARS_MAX], **_thread(told)}
        return Received(Heard(str(id or signature.id), sender, sender, told["text"], about))

    async def send(self, account: Account, letter: Letter) -> None:
        """Answer the message. The id of ours follows from the letter's: one that comes twice is seen to be one."""
        sender = account.config.get("from", "")
        message = EmailMessage()
        message["From"], message["To"] = sender, letter.chat
        subject = _line(str(letter.about.get("subject") or ""))
        message["Subject"] = subject if subject.lower().startswith("re:") else f"Re: {subject}".strip()
        message["Message-ID"] = f"<{letter.id}@{parseaddr(sender)[1].rpartition('@')[2] or 'localhost'}>"
        message["Auto-Submitted"] = "auto-replied"  # RFC 3834: no machine is to answer it
        for header, name in (("In-Reply-To", "in_reply_to"), ("References", "references")):
            if letter.about.get(name):
                message[header] = letter.about[name]
        message.set_content(letter.text)
        await self._with_server(account, message)

    def link_url(self, account: Account, token: str) -> str | None:
        """A click there writes a message with the token."""
        address = (account.config.get("account") or {}).get("address")
        return None if address is None else f"mailto:{address}?subject=Link&body=/link%20{token}"

    async def _with_server(self, account: Account, message: EmailMessage | None) -> None:
        """Sign in, and send the message if there is one. Raises ProviderRefused, ProviderAway."""
        import aiosmtplib  # takes 100 ms, which a start that sends none saves

        config = account.config
        host, security = config["smtp_host"], config.get("smtp_security", "starttls")
        try:
            client = aiosmtplib.SMTP(
                hostname=host,
                sock=await self._connect(host, int(config.get("smtp_port", 587))),
                use_tls=security == "tls",
                start_tls=security == "starttls",
                username=config.get("smtp_username") or None,
                password=account.secret("smtp_password") if config.get("smtp_username") else None,
                timeout=SMTP_S_MAX,
            )
            async with client:
                if message is not None:
                    await client.send_message(message)
        except aiosmtplib.SMTPAuthenticationError as refused:
            raise ProviderRefused(f"{host}: {refused.message[:200]}") from refused
        except aiosmtplib.SMTPResponseException as problem:
            raise _meant(host, problem.code, problem.message) from problem
        except aiosmtplib.SMTPRecipientsRefused as refused:
            first = refused.recipients[0]
            raise _meant(host, first.code, first.message) from refused
        except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as problem:
            raise ProviderAway(f"{host}: {str(problem)[:200] or type(problem).__name__}") from problem


def _meant(host: str, code: int, message: str) -> ProviderRefused | ProviderAway:
    """What a reply of the server means: codes from 500 on are final (RFC 5321, section 4.2.1)."""
    said = f"{host}: {code} {message[:200]}"
    return ProviderRefused(said) if code >= 500 else ProviderAway(said)


def _thread(told: Mapping[str, Any]) -> dict[str, str]:
    """What an answer refers to (RFC 5322, section 3.6.4)."""
    id, before = told.get("message_id"), told.get("references")
    if not isinstance(id, str) or not _IDS.fullmatch(id):
        return {}
    refers = f"{before.strip()} {id}" if isinstance(before, str) and _IDS.fullmatch(before) else id
    return {"in_reply_to": id, "references": _line(refers)}


def _line(text: str) -> str:
    """A text that ends no header."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _check(account: Account, signature: Signature, body: bytes, now_s: float) -> None:
    """Raises SignatureRefused (Standard Webhooks, "Verifying webhook authenticity")."""
    id, timestamp = signature.id or "", signature.timestamp or ""
    if not timestamp.isdecimal() or len(timestamp) > 12 or abs(now_s - int(timestamp)) > WINDOW_S:
        raise SignatureRefused(f"bad signature: the timestamp is missing, or more than {WINDOW_S:g} s away")
    signed = f"{id}.{timestamp}.".encode() + body
    made = hmac.new(_key(account.secret("webhook_secret")), signed, hashlib.sha256).digest()
    expected = "v1," + base64.b64encode(made).decode()
    given = (signature.signature or "").split(" ")
    if not id or not any(hmac.compare_digest(one.encode(), expected.encode()) for one in given):
        raise SignatureRefused("bad signature")


def _key(secret: str) -> bytes:
    """The key's bytes, as libraries of Standard Webhooks read a secret."""
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return secret.encode()
