"""Signatures of what is posted to a webhook (RootCX, "POST /api/v1/hooks/{token}")."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime

from domain.kernel.errors import Denied
from domain.kernel.secret import SecretText

TIMESTAMP = "x-webhook-timestamp"
SIGNATURE = "x-webhook-signature"
OLD_S = 300
AHEAD_S = 30  # their clock may be a little before ours


def is_signed(headers: Mapping[str, str]) -> bool:
    """Whether there is a signature at all, good or not."""
    return TIMESTAMP in headers or SIGNATURE in headers


def said(headers: Mapping[str, str]) -> str:
    """The signature, in hexadecimal if it is one."""
    return headers.get(SIGNATURE, "").removeprefix("sha256=")


def check(headers: Mapping[str, str], body: bytes, secret: SecretText | None, now: datetime) -> None:
    """Raises Denied for a signature that is not ours, or was made too long ago. Names of headers are in lower case."""
    at, signature = headers.get(TIMESTAMP, ""), said(headers)
    if not at or not signature:
        raise Denied(f"a signature needs both {TIMESTAMP} and {SIGNATURE}")
    if secret is None:
        raise Denied("the webhook has no signing secret")
    if not (at.isascii() and at.isdecimal() and len(at) < 16):
        raise Denied(f"{TIMESTAMP} must be the seconds since 1970")
    if not -AHEAD_S <= now.timestamp() - int(at) <= OLD_S:
        raise Denied("the signature's timestamp is too old, or ahead of time")
    made = hmac.new(secret.text.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(made.encode(), signature.encode()):
        raise Denied("the signature is wrong")
