"""Doing actions: by the code of an integration, or by the request that its definition has for it.

What is asked of the database is asked before and after, in units of their own: nothing waits for another service
while it holds a connection.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import orjson

from domain.access.permissions import integration_key
from domain.identity.model import SYSTEM_USER
from domain.integrations import connections
from domain.integrations.bindings import binding_of
from domain.integrations.configuring import config_of, integration_app
from domain.integrations.definition import Definition, OAuth2, RequestTemplate
from domain.integrations.deploying import definition_of
from domain.integrations.model import IntegrationConnection
from domain.integrations.templates import ABSENT, NotFitting, Unfilled, filled, placeholders, text_of, url_of
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Conflict, Denied, Failed, Invalid, Missing
from domain.kernel.outbound import Incoming, Outgoing, Unreached
from domain.kernel.reading import json_problem
from domain.workers import service as workers
from domain.workers.ports import WorkerCaller

REQUEST_S_MAX = 20.0
ANSWER_BYTES_MAX = 2**20
BODY_BYTES_MAX = 2**20
URL_CHARS_MAX = 4096
ROOM_S = 5.0  # beyond the time of a call, for the way there and back
DO = "__integration"
NO_PERMISSION = "INSUFFICIENT_PERMISSIONS"  # code of an error that says that a connection is no longer good


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be done. `app_id` is the app it is done for; `bound`: the app does it, on its binding's authority."""

    integration_id: str
    action: str
    input: Any = field(repr=False)
    app_id: str | None = None
    connection_id: UUID | None = None
    as_user: UUID | None = None  # whose connection, where the app itself calls
    bound: bool = False


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What an action is done with."""

    asked: Asked
    definition: Definition | None
    config: Mapping[str, Any] = field(repr=False)
    connection: IntegrationConnection | None
    credentials: Mapping[str, Any] | None = field(repr=False)

    @property
    def request(self) -> RequestTemplate | None:
        """The request that does the action; None where code does."""
        return None if self.definition is None else self.definition.requests.get(self.asked.action)

    @property
    def values(self) -> dict[str, Any]:
        """What the placeholders of the request stand for."""
        found = {"input": self.asked.input, "config": self.config}
        return found if self.credentials is None else {**found, "credentials": self.credentials}


async def run(ctx: Ctx, asked: Asked) -> Any:
    """What an action answers, a JSON value, its own failures included.

    Raises Denied (without the right, or a binding), Missing, Conflict where nobody is connected or configured
    anything; Invalid on `input`; Failed with what code threw, or why nobody answered; Unavailable.
    """
    user_id = ctx.user()
    if not (asked.bound and user_id == SYSTEM_USER):
        ctx.need(integration_key(asked.integration_id, asked.action))
    problem = json_problem(asked.input)
    if problem is not None:
        raise Invalid("input", f"input {problem}")
    prepared = await ctx.apart(lambda apart: _prepared(apart, asked))
    if prepared.request is None:
        result = await _by_code(ctx, prepared)
    else:
        _check_input(ctx, prepared)
        result = await _by_request(ctx, prepared, prepared.request)
    connection = prepared.connection
    if connection is not None and _says_no_permission(result):
        await ctx.apart(lambda apart: connections.bury(apart, connection.id))
    return result


def _says_no_permission(result: Any) -> bool:
    error = result.get("error") if isinstance(result, dict) and result.get("ok") is False else None
    return isinstance(error, dict) and error.get("code") == NO_PERMISSION


# What it is done with.


async def _prepared(ctx: Ctx, asked: Asked) -> _Prepared:
    app = await integration_app(ctx, asked.integration_id)
    definition = await definition_of(ctx, asked.integration_id)
    if definition is not None and definition.action(asked.action) is None:
        raise Missing(f"integration '{asked.integration_id}' has no action '{asked.action[:80]}'")
    connection = await _connection(ctx, asked)
    config = await config_of(ctx, app, None if connection is None else connection.config_id)
    credentials = None if connection is None else await connections.credentials_of(ctx, connection.id)
    return _Prepared(asked, definition, config, connection, credentials)


async def _connection(ctx: Ctx, asked: Asked) -> IntegrationConnection | None:
    """With which connection. Raises Denied, Missing."""
    user_id = ctx.user() if asked.as_user is None else asked.as_user
    wanted, trusted = asked.connection_id, False
    if asked.app_id is not None:
        bound = await binding_of(ctx, asked.app_id, asked.integration_id, user_id)
        if bound is None:
            raise Denied(f"app '{asked.app_id[:80]}' is not bound to integration '{asked.integration_id}'")
        wanted, trusted = (wanted, False) if wanted is not None else (bound.connection_id, asked.bound)
    if wanted is None:
        return await connections.newest_of(ctx, asked.integration_id, user_id)
    connection = await ctx.one(IntegrationConnection, wanted)
    if connection.integration_id != asked.integration_id:
        raise Missing("integration connection not found")
    if connection.user_id != ctx.user() and not trusted and not connections.may_manage(ctx, asked.integration_id):
        raise Denied("this connection is somebody else's")
    return connection


# By code.


async def _by_code(ctx: Ctx, prepared: _Prepared) -> Any:
    asked, connection = prepared.asked, prepared.connection
    params = {
        "action": asked.action,
        "input": asked.input,
        "config": dict(prepared.config),
        "userCredentials": prepared.credentials,
        "userId": str(asked.as_user or ctx.user()),
        "connectionId": None if connection is None else str(connection.id),
    }
    return await call_code(ctx, asked.integration_id, DO, params)


async def call_code(
    ctx: Ctx, integration_id: str, method: str, params: Mapping[str, Any], caller: WorkerCaller | None = None
) -> Any:
    """What a method of the integration's code returns, for the caller or whoever else. Raises Failed, Unavailable."""
    served = replace(caller or workers.caller(ctx), connection_id=params.get("connectionId"))
    return await workers.ask(ctx, integration_id, method, params, served)


# By a request.


def _check_input(ctx: Ctx, prepared: _Prepared) -> None:
    """Raises Invalid on the part of the input that is not as the action wants it."""
    assert prepared.definition is not None
    action = prepared.definition.action(prepared.asked.action) or {}
    wrong = ctx.ports.json_schemas.problem(action.get("inputSchema") or {}, prepared.asked.input)
    if wrong is not None:
        path = ".".join(part for part in ("input", wrong.path) if part)
        raise Invalid(path, f"{path} {wrong.message}")


async def _by_request(ctx: Ctx, prepared: _Prepared, template: RequestTemplate) -> Any:
    if prepared.credentials is None and _needs_credentials(template):
        raise Conflict(f"no account is connected with integration '{prepared.asked.integration_id}'")
    try:
        if connections.is_stale(prepared.credentials or {}, ctx.now):
            prepared = await _renewed(ctx, prepared)
        answer = await _sent(ctx, prepared, template)
        if answer.status == 401 and (prepared.credentials or {}).get("refresh_token"):
            prepared = await _renewed(ctx, prepared)
            answer = await _sent(ctx, prepared, template)
    except connections.Revoked:
        return _failure(401, NO_PERMISSION, "the connection is no longer good: connect again", None)
    return _result(template, answer)


def _needs_credentials(template: RequestTemplate) -> bool:
    parts = [template.url, dict(template.headers), template.query, template.body]
    return any(path.split(".")[0] == "credentials" for path in placeholders(parts))


async def _renewed(ctx: Ctx, prepared: _Prepared) -> _Prepared:
    """With new credentials, where there are any to be had. Raises Revoked, Failed, Unavailable."""
    auth = None if prepared.definition is None else prepared.definition.auth
    if not isinstance(auth, OAuth2) or prepared.connection is None or prepared.credentials is None:
        return prepared
    client = connections.oauth_client(auth, prepared.config)
    fresh = await connections.renewed(ctx, client, prepared.connection.id, prepared.credentials)
    return replace(prepared, credentials=fresh)


async def _sent(ctx: Ctx, prepared: _Prepared, template: RequestTemplate) -> Incoming:
    """Raises Conflict, Failed, Invalid."""
    request = _outgoing(template, prepared.values)
    try:
        return await ctx.outside(ctx.ports.outbound.send(request), REQUEST_S_MAX + ROOM_S)
    except Unreached as problem:
        raise Failed(f"integration '{prepared.asked.integration_id}': {problem}") from problem


def _outgoing(template: RequestTemplate, values: Mapping[str, Any]) -> Outgoing:
    """The request. Raises Invalid on the part of the input that cannot be in it; Conflict."""
    try:
        url = url_of(template.url, values)
    except Unfilled as missing:
        if missing.path.startswith("input"):
            raise Invalid(missing.path, f"{missing.path} is required") from missing
        raise Conflict(f"the integration is not configured: {missing.path} is missing") from missing
    except NotFitting as wrong:
        raise Invalid(wrong.path, f"{wrong.path} {wrong}") from wrong
    query = _form(template.query, values, "query")
    url = f"{url}{'&' if '?' in url else '?'}{query}" if query else url
    if len(url) > URL_CHARS_MAX:
        raise Invalid("input", f"input makes a URL of more than {URL_CHARS_MAX} characters")
    headers = _headers(template, values)
    if template.body is None or template.method == "GET":
        return Outgoing(template.method, url, headers, None, REQUEST_S_MAX, ANSWER_BYTES_MAX)
    made = filled(template.body, values)
    if made is ABSENT:
        return Outgoing(template.method, url, headers, None, REQUEST_S_MAX, ANSWER_BYTES_MAX)
    body = _form(template.body, values, "body").encode() if template.form else orjson.dumps(made)
    if len(body) > BODY_BYTES_MAX:
        raise Invalid("input", f"input makes a body of more than {BODY_BYTES_MAX} bytes")
    kind = "application/x-www-form-urlencoded" if template.form else "application/json"
    return Outgoing(template.method, url, {"content-type": kind, **headers}, body, REQUEST_S_MAX, ANSWER_BYTES_MAX)


def _headers(template: RequestTemplate, values: Mapping[str, Any]) -> dict[str, str]:
    """Raises Invalid for a value that would end its header."""
    headers = {}
    for name, text in template.headers.items():
        value = text_of(text, values)
        if value is None:
            continue
        if not value.isascii() or not value.isprintable():
            path = next(iter(placeholders(text)), "input")
            raise Invalid(path, f"{path} must be printable ASCII where it goes into a header")
        headers[name] = value
    return headers


def _form(template: Any, values: Mapping[str, Any], what: str) -> str:
    """An object as a form, or as a query. Raises Invalid for what comes to something else."""
    made = filled(template, values)
    if made is ABSENT or made is None:
        return ""
    if not isinstance(made, Mapping):
        raise Invalid(f"input.{what}", f"input.{what} must be an object")
    return urlencode(_pairs(made), errors="replace")


def _pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """An object as parameters: a list repeats its name, null leaves it out."""
    listed = [(name, value if isinstance(value, list) else [value]) for name, value in values.items()]
    return [
        (name, part if isinstance(part, str) else orjson.dumps(part).decode())
        for name, parts in listed
        for part in parts
        if part is not None
    ]


# What comes back.


def _result(template: RequestTemplate, answer: Incoming) -> dict[str, Any]:
    if not answer.whole:
        return _failure(answer.status, "ANSWER_TOO_LARGE", f"the answer has more than {ANSWER_BYTES_MAX} bytes", None)
    data = _data(answer)
    if answer.status == 401:
        return _failure(401, NO_PERMISSION, "the other service does not take the credentials", data)
    if not 200 <= answer.status < 300:
        return _failure(answer.status, f"HTTP_{answer.status}", f"the other service answered {answer.status}", data)
    rules = template.answer
    if rules.ok is not None and not (isinstance(data, dict) and data.get(rules.ok)):
        said = str(data.get(rules.error or "", "")) if isinstance(data, dict) else ""
        code = NO_PERMISSION if said in rules.revoked else "REFUSED"
        return _failure(answer.status, code, said or "the other service said no", data)
    return {"ok": True, "status": answer.status, "data": data}


def _failure(status: int, code: str, message: str, data: Any) -> dict[str, Any]:
    return {"ok": False, "status": status, "error": {"code": code, "message": message}, "data": data}


def _data(answer: Incoming) -> Any:
    """JSON, if it is some that can be shown again, or else text."""
    if not answer.body:
        return None
    try:
        found = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return answer.body.decode("utf-8", "replace").replace("\x00", "\ufffd")
    return found if json_problem(found) is None else None
