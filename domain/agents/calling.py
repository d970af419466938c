"""Tools of agents, for people and programs that call them themselves."""

from typing import Any

from domain.access.permissions import tool_key
from domain.agents.running import unusable
from domain.agents.tools import TOOLS, Tool, bounded
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid, Missing
from domain.kernel.reading import Node
from domain.workers import service as workers


def tools(ctx: Ctx) -> list[Tool]:
    """The tools there are. Raises Unauthenticated."""
    ctx.user()
    return list(TOOLS.values())


async def call(ctx: Ctx, app_id: str, name: str, args: Any) -> Any:
    """What a tool returns to the caller, in the place of the agent of an app.

    Raises Denied without the tool's key or for what the tool is not allowed; Missing; Invalid on `name` or `args`.
    """
    ctx.need(tool_key(name))
    tool = TOOLS.get(name)
    if tool is None:
        raise Missing(f"unknown tool '{name[:80]}'")
    problem = unusable(args)
    if problem is not None:
        raise Invalid("args", f"args: {problem}")
    given = Node(args, "args")
    if tool.work is not None:
        return bounded(await tool.work(ctx, app_id, given))
    if name == "call_action":
        return bounded(await _call_action(ctx, given))
    if name == "call_integration":
        id, action, input = given.text("integration_id"), given.text("action"), given.raw("input", default={})
        return bounded(await ctx.ports.integrations.call(ctx, app_id, id, action, input))
    raise Invalid("name", f"'{name}' is for agents: people invoke an agent themselves")


async def _call_action(ctx: Ctx, args: Node) -> Any:
    app, action, input = args.text("app"), args.text("action"), args.raw("input", default={})
    await ctx.apart(lambda first: workers.may_call_action(first, app, action))
    return await workers.ask(ctx, app, action, input, workers.caller(ctx))
