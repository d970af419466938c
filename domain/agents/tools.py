"""What agents can do on the platform: each tool is an operation of it, done with the rights of the run.

What a tool returns is data. It is bounded, so that no answer fills a model's context, or a worker's line.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from domain.access import service as access
from domain.access.permissions import Grants, tool_key
from domain.agents import registration
from domain.agents.definition import TURNS_DEFAULT
from domain.agents.ports import ToolSpec
from domain.apps import service as apps
from domain.apps.model import App
from domain.integrations.ports import IntegrationView
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid
from domain.kernel.rawjson import RawJson, json_of
from domain.kernel.reading import Node
from domain.records import service as records
from domain.records.service import BULK_MAX, Query
from domain.records.spelling.dialects import Dialect

ROWS_MAX = 1000
ROWS_DEFAULT = 100
RESULT_BYTES_MAX = 512 * 1024
SCHEMA_CHARS_MAX = 20_000  # of what the tools for data say of an app's entities

Args = Mapping[str, Any]
Work = Callable[[Ctx, str, Node], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool. `work` does it within one unit of work, for the app of the agent; None is for what waits outside."""

    name: str
    description: str
    properties: Mapping[str, Any]
    required: tuple[str, ...] = ()
    work: Work | None = None
    about_data: bool = False

    def spec(self, schema: str) -> ToolSpec:
        """How a model is told of it; `schema` tells of the app's entities."""
        about = f"{self.description}\n\n{schema}" if self.about_data and schema else self.description
        shape = {"type": "object", "properties": dict(self.properties), "required": list(self.required)}
        return ToolSpec(self.name, about, shape)


TEXT = {"type": "string"}
APP = {"type": "string", "description": "The app's id; your own app without it."}
WHERE = {
    "type": "object",
    "description": 'Conditions by field: a value, or operators like {"$gte": 5}; $and, $or, $not combine them.',
}


# Records.


async def _query_data(ctx: Ctx, own: str, args: Node) -> Any:
    """RootCX: a page with its total if anything is asked of it, else a bare list."""
    asked = any(args.has(name) for name in ("where", "orderBy", "order", "limit", "offset"))
    query = Query(
        where=args.raw("where"),
        dialect=Dialect.ROOTCX,
        order_by=args.text("orderBy", default=None),
        descending=str(args.text("order", default="desc")).lower() != "asc",
        first=_number(args, "limit", ROWS_DEFAULT if asked else ROWS_MAX, 1, ROWS_MAX),
        offset=_number(args, "offset", 0, 0, records.OFFSET_MAX),
    )
    wanted = {"rows", "total"} if asked else {"rows"}
    found = await records.find(ctx, _app(args, own), args.text("entity"), query, wanted)
    rows = _value(found.rows)
    return {"data": rows, "total": found.total} if asked else rows


async def _mutate_data(ctx: Ctx, own: str, args: Node) -> Any:
    app, entity, action = _app(args, own), args.text("entity"), args.text("action")
    match action:
        case "create":
            return _value(await records.create(ctx, app, entity, args.raw("data")))
        case "bulk_create":
            return [_value(row) for row in await records.create_many(ctx, app, entity, args.raw("data"))]
        case "update":
            return _value(await records.update(ctx, app, entity, args.text("id"), args.raw("data")))
        case "delete":
            await records.delete(ctx, app, entity, args.text("id"))
            return f"record '{args.text('id')}' deleted"
    raise Invalid("action", "action must be create, update, delete or bulk_create")


# Apps.


async def _list_apps(ctx: Ctx, own: str, args: Node) -> Any:
    return [{"id": app.id, "name": app.name, "entities": app.entities} for app in await apps.apps(ctx)]


async def _describe_app(ctx: Ctx, own: str, args: Node) -> Any:
    app = await apps.app(ctx, args.text("app"))
    return {"app": app.id, "name": app.name, "dataContract": app.manifest["dataContract"]}


async def _list_actions(ctx: Ctx, own: str, args: Node) -> Any:
    found = [await apps.app(ctx, args.text("app"))] if args.has("app") else await apps.apps(ctx)
    return [_actions(app) for app in found if app.manifest.get("actions")]


def _actions(app: App) -> Args:
    told = {"appId": app.id, "name": app.name, "actions": app.manifest["actions"]}
    instructions = app.manifest.get("instructions")
    return told if instructions is None else {**told, "instructions": instructions}


async def _list_integrations(ctx: Ctx, own: str, args: Node) -> Any:
    return [_integration(found) for found in await ctx.ports.integrations.installed(ctx)]


def _integration(found: IntegrationView) -> Args:
    return {
        "id": found.id,
        "name": found.name,
        "version": found.version,
        "description": found.description,
        "actions": found.actions,
        "configSchema": found.config_schema,
        "userAuth": found.user_auth,
        "webhooks": found.webhooks,
        "instructions": found.instructions,
        "configured": found.configured,
    }


# Reading what they are given.


def _app(args: Node, own: str) -> str:
    app: str = args.text("app", default=own)
    return app


def _number(args: Node, name: str, default: int, least: int, most: int) -> int:
    value = args.raw(name, default=default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid(name, f"{name} must be a whole number")
    return max(least, min(most, value))


def _value(text: RawJson | None) -> Any:
    return None if text is None else orjson.loads(str(text))


TOOLS: Mapping[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool(
            "query_data",
            f"Read records of an entity. With any of where, orderBy, order, limit or offset the answer is "
            f"{{data, total}}, else a list of all records, at most {ROWS_MAX}.",
            {
                "entity": TEXT,
                "app": APP,
                "where": WHERE,
                "orderBy": TEXT,
                "order": {"type": "string", "enum": ["asc", "desc"]},
                "limit": {"type": "integer", "minimum": 1, "maximum": ROWS_MAX},
                "offset": {"type": "integer", "minimum": 0},
            },
            ("entity",),
            _query_data,
            about_data=True,
        ),
        Tool(
            "mutate_data",
            f"Write records of an entity. create and update take `data`, bulk_create a list of up to {BULK_MAX} as "
            "`data`, update and delete the record's `id`.",
            {
                "entity": TEXT,
                "app": APP,
                "action": {"type": "string", "enum": ["create", "update", "delete", "bulk_create"]},
                "data": {"description": "Fields by name, or a list of such objects."},
                "id": TEXT,
            },
            ("entity", "action"),
            _mutate_data,
            about_data=True,
        ),
        Tool("list_apps", "The installed apps with the names of their entities.", {}, (), _list_apps),
        Tool("describe_app", "The entities of an app with their fields.", {"app": TEXT}, ("app",), _describe_app),
        Tool("list_integrations", "The installed integrations with their actions.", {}, (), _list_integrations),
        Tool(
            "call_integration",
            "Call an action of an integration that the app is bound to.",
            {"integration_id": TEXT, "action": TEXT, "input": {"description": "What the action takes."}},
            ("integration_id", "action"),
        ),
        Tool(
            "invoke_agent",
            "Ask the agent of another app, and wait for its answer.",
            {"app_id": TEXT, "message": TEXT},
            ("app_id", "message"),
        ),
        Tool(
            "list_actions",
            "The actions that apps offer, with what each takes.",
            {"app": {"type": "string", "description": "Of one app; of all apps without it."}},
            (),
            _list_actions,
        ),
        Tool(
            "call_action",
            "Call an action of an app.",
            {"app": TEXT, "action": TEXT, "input": {"description": "What the action takes."}},
            ("app", "action"),
        ),
    )
}


async def specs(ctx: Ctx, app_id: str, grants: Grants) -> list[ToolSpec]:
    """The tools that these grants allow, as the agent of an app is told of them."""
    allowed = [tool for tool in TOOLS.values() if grants.allows(tool_key(tool.name))]
    app = await ctx.first(ctx.visible(App).where(App.id == app_id)) if allowed else None
    schema = "" if app is None else _entities(app.manifest["dataContract"])
    return [tool.spec(schema) for tool in allowed]


async def worker_config(ctx: Ctx, app_id: str) -> dict[str, Any] | None:
    """What the code of an app is told of its agent when it begins; None without one (RootCX worker protocol)."""
    agent = await registration.find(ctx, app_id)
    if agent is None:
        return None
    held = await access.held(ctx, agent.user_id)
    limits = agent.definition.limits
    told = [described(spec) for spec in await specs(ctx, app_id, held.grants)]
    return {"tool_descriptors": told, "max_turns": (limits and limits.max_turns) or TURNS_DEFAULT}


def described(spec: ToolSpec) -> dict[str, Any]:
    """A tool as the code of apps is told of it."""
    return {"name": spec.name, "description": spec.description, "inputSchema": spec.input_schema}


def _entities(contract: Sequence[Mapping[str, Any]]) -> str:
    """The entities of an app in a few words each."""
    lines = [f"- {entity['entityName']}: {', '.join(map(_field, entity['fields']))}" for entity in contract]
    if not lines:
        return ""
    told = "Entities of your app (each has id, created_at, updated_at, too):\n" + "\n".join(lines)
    return told if len(told) <= SCHEMA_CHARS_MAX else f"{told[:SCHEMA_CHARS_MAX]}\n... (describe_app tells the rest)"


def _field(field: Mapping[str, Any]) -> str:
    target = (field.get("references") or {}).get("entity")
    marks = [field["type"] + (f" to {target}" if target else "")]
    if field.get("required"):
        marks.append("required")
    options = field.get("enum_values") or field.get("enumValues")
    if options:
        marks.append("one of " + "|".join(map(str, options[:20])))
    return f"{field['name']} ({', '.join(marks)})"


def bounded(result: Any) -> Any:
    """The result. Raises Invalid for one that is too large to be told."""
    size = len(json_of(result).encode())
    if size > RESULT_BYTES_MAX:
        raise Invalid(None, f"the result has {size} bytes, {RESULT_BYTES_MAX} can be told: ask for a part of it")
    return result
