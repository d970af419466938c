"""Who a token stands for is looked up once for all who ask at the same time."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.access.permissions import Grants
from domain.identity.model import AccountKind
from domain.identity.principals import Principals
from domain.kernel.errors import Unauthenticated
from domain.kernel.unit import Statement

TENANT, USER = UUID(int=0), uuid4()


class Accounts:
    """Answers a look at an account when it is let go."""

    def __init__(self) -> None:
        self.looks: list[asyncio.Future[Sequence[Mapping[str, Any]]]] = []

    async def fetch(self, statement: Statement) -> Sequence[Mapping[str, Any]]:
        self.looks.append(asyncio.get_running_loop().create_future())
        return await self.looks[-1]


def row(*keys: str) -> list[dict[str, Any]]:
    return [{"kind": AccountKind.HUMAN, "disabled_at": None, "contact": "ada", "keys": list(keys)}]


async def asking(principals: Principals, count: int) -> list["asyncio.Task[Any]"]:
    asked = [asyncio.create_task(principals.account(TENANT, USER)) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return asked


async def test_one_look_answers_all_who_wait_even_when_one_gives_up() -> None:
    accounts = Accounts()
    principals = Principals(None, accounts.fetch)  # type: ignore[arg-type]
    first, *others = await asking(principals, 5)
    first.cancel()
    await asyncio.sleep(0)
    (look,) = accounts.looks
    look.set_result(row("a"))
    assert [actor.grants.keys for actor in await asyncio.gather(*others)] == [Grants(["a"]).keys] * 4
    assert (await principals.account(TENANT, USER)).grants.keys == Grants(["a"]).keys
    assert len(accounts.looks) == 1


async def test_who_asks_after_a_change_does_not_get_what_was_looked_up_before_it() -> None:
    accounts = Accounts()
    principals = Principals(None, accounts.fetch)  # type: ignore[arg-type]
    (before,) = await asking(principals, 1)
    principals.forget(TENANT, USER)
    (after,) = await asking(principals, 1)
    old, new = accounts.looks
    new.set_result(row("new"))
    assert (await after).grants.keys == Grants(["new"]).keys
    old.set_result(row("old"))
    assert (await before).grants.keys == Grants(["old"]).keys
    (again,) = await asking(principals, 1)
    assert len(accounts.looks) == 3  # what the old look found is not believed
    accounts.looks[2].set_result(row("new"))
    assert (await again).grants.keys == Grants(["new"]).keys


async def test_a_look_that_fails_fails_for_all_and_is_tried_again() -> None:
    accounts = Accounts()
    principals = Principals(None, accounts.fetch)  # type: ignore[arg-type]
    asked = await asking(principals, 2)
    accounts.looks[0].set_exception(RuntimeError("gone"))
    assert [str(problem) for problem in await asyncio.gather(*asked, return_exceptions=True)] == ["gone"] * 2
    (again,) = await asking(principals, 1)
    accounts.looks[1].set_result([])
    with pytest.raises(Unauthenticated):
        await again
