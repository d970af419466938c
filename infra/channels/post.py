"""Carrying messages: those that came in to commands and agents, the answers to their providers.

A message is taken for a while, and kept as long as somebody works on it; one whose worker is lost is taken by the
next. It looks when it hears that something waits, and once a second anyway.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from domain.agents.ports import Trigger
from domain.channels import talking
from domain.channels.events import MessageWaits
from domain.channels.model import Channel, Direction, Status
from domain.channels.ports import Account, Letter, ProviderAway, ProviderRefused
from domain.channels.service import account_of
from domain.channels.talking import Question
from domain.identity.model import SYSTEM_USER
from domain.kernel.ctx import Actor, Ctx, Request
from domain.kernel.errors import Denied, DomainError, Missing, TimedOut, Unavailable
from domain.kernel.unit import Statement, StatementRefused
from infra.logs import get_logger
from infra.platform import Platform

AT_ONCE_MAX = {Direction.IN: 50, Direction.OUT: 20}
LEASE_S = 10.0
KEEP_S = 3.0
POLL_S = 1.0
AGAIN_S = 0.5  # after the database did not do as it was told
ANSWER_S_MAX = 600.0  # of an agent, the time that somebody takes to approve included
SEND_S_MAX = 30.0
LOSSES_MAX = 5  # a message that takes those who work on it down with it is given up then

APOLOGY = "Something went wrong with that, and I have no answer. Please try again later."
NO_AGENT = "There is no agent '{}' here. /agent shows those there are."
AWAY = (Unavailable, TimedOut, StatementRefused)
REQUEST = Request(door="channel")

# Of one chat the oldest goes first, and the others wait for it.
TAKE = """
WITH due AS (
    SELECT m.id FROM stoa.channel_messages m
    WHERE m.direction = $1 AND m.state = 'waiting' AND m.due_at <= clock_timestamp() AND NOT EXISTS (
        SELECT FROM stoa.channel_messages e
        WHERE e.channel_id = m.channel_id AND e.chat = m.chat AND e.direction = m.direction
        AND e.state = 'waiting' AND e.id < m.id)
    ORDER BY m.due_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE stoa.channel_messages m
SET lease = gen_random_uuid(), attempts = m.attempts + 1, due_at = clock_timestamp() + make_interval(secs => $3)
FROM due WHERE m.id = due.id RETURNING m.id, m.tenant_id, m.lease, m.attempts
"""
KEEP = """
UPDATE stoa.channel_messages SET due_at = clock_timestamp() + make_interval(secs => $2)
WHERE state = 'waiting' AND lease = ANY($1)
"""
GIVE_BACK = "UPDATE stoa.channel_messages SET due_at = clock_timestamp() WHERE state = 'waiting' AND lease = ANY($1)"

T = TypeVar("T")

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that is ours to work on."""

    id: UUID
    tenant_id: UUID
    lease: UUID
    attempts: int

    @property
    def actor(self) -> Actor:
        """In whose name it is written down what became of it: nobody's."""
        return Actor(self.tenant_id, SYSTEM_USER)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A letter, and the account that it is sent from."""

    provider: str
    account: Account = field(repr=False)
    letter: Letter


class Post:
    """Carries messages on this platform."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._tasks: dict[Direction, dict[UUID, asyncio.Task[None]]] = {way: {} for way in Direction}  # by lease
        self._waits = asyncio.Event()

    async def run(self) -> None:
        """Carry messages until cancelled."""
        self._platform.hearers.append(self._hear)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._carry())
                tasks.create_task(self._keep())
        finally:
            self._platform.hearers.remove(self._hear)
            await self._leave()

    def _hear(self, tenant_id: UUID, kind: str, payload: dict[str, Any]) -> None:
        if kind == MessageWaits.kind:
            self._waits.set()

    # Taking, and keeping what is worked on.

    async def _carry(self) -> None:
        while True:
            self._waits.clear()
            try:
                await self._take(Direction.IN, self._answer)
                await self._take(Direction.OUT, self._send)
            except AWAY as problem:
                log.warning("messages_not_taken", reason=str(problem))
                await asyncio.sleep(AGAIN_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._waits.wait()

    async def _take(self, way: Direction, work: Callable[[Taken], Coroutine[Any, Any, None]]) -> None:
        room = AT_ONCE_MAX[way] - len(self._tasks[way])
        if room <= 0:
            return
        for row in await self._platform.fetch(Statement(TAKE, (way.value, room, LEASE_S))):
            taken = Taken(row["id"], row["tenant_id"], row["lease"], row["attempts"])
            self._tasks[way][taken.lease] = asyncio.create_task(self._worked(way, taken, work(taken)))

    async def _worked(self, way: Direction, taken: Taken, work: Coroutine[Any, Any, None]) -> None:
        """Whatever becomes of it: what isn't written down as done is taken again when its lease has run out."""
        try:
            await work
        except (DomainError, StatementRefused) as problem:
            log.warning("message_left", id=str(taken.id), reason=str(problem))
        except Exception:
            log.exception("message_broken", id=str(taken.id))
        finally:
            del self._tasks[way][taken.lease]
            self._waits.set()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(KEEP_S)
            with suppress(*AWAY):
                await self._platform.fetch(Statement(KEEP, (self._leases(), LEASE_S)))

    def _leases(self) -> list[UUID]:
        return [lease for tasks in self._tasks.values() for lease in tasks]

    async def _leave(self) -> None:
        """Let others go on with what is not done."""
        leases, tasks = self._leases(), [task for tasks in self._tasks.values() for task in tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(*AWAY):
            await self._platform.fetch(Statement(GIVE_BACK, (leases,)))

    async def _perform(self, taken: Taken, work: Callable[[Ctx], Awaitable[T]]) -> T:
        return await self._platform.perform(taken.actor, REQUEST, work)

    # In.

    async def _answer(self, taken: Taken) -> None:
        if taken.attempts > LOSSES_MAX:
            return await self._give_up(taken, "it was tried too often", APOLOGY)
        question = await self._perform(taken, lambda ctx: talking.hear(ctx, taken.id, taken.lease))
        return None if question is None else await self._ask(taken, question)

    async def _ask(self, taken: Taken, question: Question) -> None:
        """RootCX reference, 6.8: where an agent may not act for somebody, the channel stays silent."""
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                reply = await self._platform.agents.invoke(
                    question.tenant_id,
                    question.app_id,
                    question.owner_id,
                    question.text,
                    Trigger.CHANNEL,
                    question.session_id,
                )
        except Denied as refused:
            return await self._give_up(taken, refused.message, None)
        except Missing as missing:
            return await self._give_up(taken, missing.message, NO_AGENT.format(question.app_id))
        except (DomainError, TimeoutError) as problem:
            return await self._give_up(taken, str(problem) or "no answer in time", APOLOGY)
        return await self._perform(
            taken, lambda ctx: talking.answered(ctx, taken.id, taken.lease, reply.response, reply.session_id)
        )

    async def _give_up(self, taken: Taken, error: str, apology: str | None) -> None:
        await self._perform(taken, lambda ctx: talking.given_up(ctx, taken.id, taken.lease, error, apology))

    # Out.

    async def _send(self, taken: Taken) -> None:
        ready = await self._perform(taken, lambda ctx: _ready(ctx, taken))
        if ready is None:
            return None
        error, again_s, final = "", None, True
        try:
            async with asyncio.timeout(SEND_S_MAX):
                await self._platform.ports.messengers[ready.provider].send(ready.account, ready.letter)
        except ProviderRefused as refused:
            error = str(refused)
        except ProviderAway as away:
            error, again_s, final = str(away), away.again_s, False
        except TimeoutError:
            error, final = f"no answer within {SEND_S_MAX:g} s", False
        if not error:
            return await self._perform(taken, lambda ctx: talking.sent(ctx, taken.id, taken.lease))
        log.warning("message_not_sent", id=str(taken.id), attempts=taken.attempts, reason=error, final=final)
        return await self._perform(
            taken, lambda ctx: talking.not_sent(ctx, taken.id, taken.lease, error, again_s, final=final)
        )


async def _ready(ctx: Ctx, taken: Taken) -> _Ready | None:
    """What is to be sent; None, with that written down, from a channel that is not in use any more."""
    message = await talking.ours(ctx, taken.id, taken.lease)
    if message is None:
        return None
    channel = await ctx.one(Channel, message.channel_id)
    if channel.status != Status.ACTIVE:
        await talking.not_sent(ctx, taken.id, taken.lease, "the channel is inactive", None, final=True)
        return None
    letter = Letter(message.id, message.chat, message.body, message.about)
    return _Ready(channel.provider, await account_of(ctx, channel), letter)
