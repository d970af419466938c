"""Calling a provider's API: JSON there, JSON back, and what its refusals mean."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from domain.channels.ports import ProviderAway, ProviderRefused
from domain.kernel.outbound import AddressRefused, Incoming, Outbound, Outgoing, Unreached

ANSWER_BYTES_MAX = 256 * 1024
TIMEOUT_S = 10.0


async def called(
    outbound: Outbound, url: str, payload: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> tuple[Incoming, dict[str, Any]]:
    """The answer to a POST, and the JSON object in it. Raises ProviderRefused, ProviderAway."""
    wanted = {"content-type": "application/json; charset=utf-8", "accept": "application/json", **(headers or {})}
    request = Outgoing("POST", url, wanted, orjson.dumps(payload), TIMEOUT_S, ANSWER_BYTES_MAX)
    try:
        answer = await outbound.send(request)
    except AddressRefused as refused:
        raise ProviderRefused(str(refused)) from refused
    except Unreached as problem:
        raise ProviderAway(str(problem)) from problem
    told = object_in(answer.body)
    if told is None or answer.status >= 500:
        raise ProviderAway(f"{urlsplit(url).hostname} answers with status {answer.status}", again_s(answer))
    return answer, told


def object_in(body: bytes) -> dict[str, Any] | None:
    """The JSON object that a body is, or None."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def again_s(answer: Incoming) -> float | None:
    """When the provider wants to be asked again, if it says so."""
    told = answer.headers.get("retry-after", "")
    return float(told) if told.isdecimal() and len(told) < 7 else None


def checked_url(config: Mapping[str, Any], name: str, default: str) -> str | None:
    """What is wrong with a URL of a configuration; None for nothing."""
    url = config.get(name, default)
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("https", "http") or not parts.hostname:
        return "must be the address of an API, https://..."
    return "must have neither query nor user name" if parts.query or "@" in parts.netloc else None
