"""What is wrong with an answer, whatever was asked: a fault, a trace of what is behind the routes, no shape of ours."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import orjson

from rest_compat.engine.operations import Route

# Traces of what is behind the routes. What the tests send has none of them, so that an answer that has one made it.
LEAKS = re.compile(
    r"traceback|sqlalchemy|asyncpg|sqlstate|syntax error at or near|relation \"|column \".*\" (does not|of relation)|"
    r"\bselect\b.+\bfrom\b|insert into|\bpg_|stoa\.\w+_|<class |<function|object at 0x|file \"|\.py\b|"
    r"\b\w+(Error|Exception)\b|errno|maybe\[|graphql-core|strawberry|orjson|jiter|/site-packages/",
    re.IGNORECASE,
)

# What asks a worker host, of which the servers here have none: they say so, and to try again.
HOSTED = frozenset({"rootcx.rpc", "rootcx.startWorker", "rootcx.stopWorker"})


def code_of(body: dict[str, Any]) -> str:
    """The code of a refusal, in any dialect."""
    told = body["error"] if isinstance(body["error"], dict) else body
    return str(told["code"]).lower()


def faults(route: Route, answer: httpx.Response) -> Iterator[str]:
    """What no answer of a route may be. A 5xx is none where the operation tells of it and its dialect has it so."""
    if answer.status_code >= 500 and not _meant(route, answer):
        yield f"fault: {answer.status_code}"
    if answer.is_error:
        found = LEAKS.search(answer.text)
        if found is not None:
            yield f"leak: {found[0]!r}"


def _meant(route: Route, answer: httpx.Response) -> bool:
    try:
        code = code_of(answer.json())
    except (ValueError, KeyError, TypeError):
        return False
    if code == "unavailable":
        return route.label in HOSTED and answer.status_code == 503 and "retry-after" in answer.headers
    return any(
        (code, answer.status_code) == (told.lower(), route.system.status_of_code(told, reason))
        for told, reason in route.compiled.rules.refuses
    )


def graphql_faults(answer: httpx.Response) -> Iterator[str]:
    """What no answer to a GraphQL request may be."""
    if answer.status_code >= 500:
        yield f"fault: {answer.status_code}"
    try:
        body = orjson.loads(answer.content)
    except ValueError:
        yield "no JSON"
        return
    for error in body.get("errors", ()):
        yield from error_faults(error)


def error_faults(error: dict[str, Any]) -> Iterator[str]:
    """What no error of a GraphQL answer may be."""
    code = error.get("extensions", {}).get("code")
    if code in (None, "INTERNAL"):
        yield f"fault: an error of code {code}"
    found = LEAKS.search(error.get("message", ""))
    if found is not None:
        yield f"leak: {found[0]!r}"
