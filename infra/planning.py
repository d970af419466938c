"""What a manifest would change in a database, for the person at the terminal."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from domain.access.permissions import EVERYTHING, Grants
from domain.apps import service
from domain.identity.model import SYSTEM_USER
from domain.kernel.ctx import Actor, Ctx, Request
from domain.kernel.errors import DomainError
from domain.kernel.unit import StatementRefused
from domain.records.plan import Step
from infra.failure import Failure, Misuse
from infra.ports import only
from infra.postgres.database import Database

UNDEFINED_TABLE = "42P01"


def manifest_in(path: Path) -> Any:
    """The JSON of a file. Raises Misuse."""
    try:
        return orjson.loads(path.read_bytes())
    except OSError as problem:
        raise Misuse(f"{path} cannot be read: {problem.strerror}") from None
    except orjson.JSONDecodeError as problem:
        raise Misuse(f"{path} is not JSON: {problem}") from None


async def steps(url: str, manifest: Any) -> Sequence[Step]:
    """The steps that would bring the database to the manifest. Raises Failure."""
    database = await Database.open(url, 1)
    try:
        async with database.unit(writes=False) as unit:
            actor = Actor(user_id=SYSTEM_USER, grants=Grants([EVERYTHING]))
            ctx = Ctx(actor=actor, now=datetime.now(UTC), unit=unit, ports=only(), request=Request(door="terminal"))
            return (await service.plan_app(ctx, manifest)).steps
    except StatementRefused as refused:
        if refused.sqlstate != UNDEFINED_TABLE:
            raise
        raise Failure("the database is not up to date: run `stoa migrate`") from None
    except DomainError as refused:
        raise Failure(refused.message) from None
    finally:
        await database.close()


def told(steps: Sequence[Step], *, with_sql: bool) -> Iterator[str]:
    """The steps as lines: what is done, to what, in detail, and whether it loses stored values."""
    if not steps:
        yield "nothing to change"
        return
    objects = [step.entity + (f".{step.column}" if step.column else "") for step in steps]
    kind_width, object_width = max(len(step.change) for step in steps), max(map(len, objects))
    for step, name in zip(steps, objects, strict=True):
        loses = "  LOSES STORED VALUES" if step.loses else ""
        yield f"{step.change:<{kind_width}}  {name:<{object_width}}  {step.detail}{loses}".rstrip()
        if with_sql:
            yield from (f"    {sql};" for sql in step.statements)
