"""Who a token stands for, at this moment: the account, whether it may act, and all it is granted."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from domain.access.permissions import Grants
from domain.identity.model import AccountKind
from domain.identity.ports import Tokens
from domain.kernel.ctx import Actor
from domain.kernel.errors import Unauthenticated
from domain.kernel.unit import Statement

TRUSTED_S = 1.0  # how long a look at an account is believed; changes made by this process are seen at once
REMEMBERED_MAX = 10_000

_ACCOUNT_SQL = """
WITH RECURSIVE held (name, depth) AS (
    SELECT role, 0 FROM stoa.role_assignments WHERE tenant_id = $1 AND user_id = $2
    UNION
    SELECT unnest(r.inherits), h.depth + 1
    FROM stoa.roles r JOIN held h ON r.tenant_id = $1 AND r.name = h.name AND h.depth < 64
)
SELECT u.kind, u.disabled_at, coalesce(u.email, u.username) AS contact,
       ARRAY(SELECT DISTINCT unnest(r.permissions) FROM stoa.roles r
             WHERE r.tenant_id = $1 AND r.name IN (SELECT name FROM held)) AS keys
FROM stoa.users u WHERE u.tenant_id = $1 AND u.id = $2
"""

Fetch = Callable[[Statement], Awaitable[Sequence[Mapping[str, Any]]]]


@dataclass(slots=True)
class _Known:
    actor: Actor | None  # None for an account that may not act
    trusted_until: float


class Principals:
    """Resolves access tokens to actors."""

    def __init__(self, tokens: Tokens, fetch: Fetch) -> None:
        self._tokens = tokens
        self._fetch = fetch
        self._known: OrderedDict[tuple[UUID, UUID], _Known] = OrderedDict()
        self._looking: dict[tuple[UUID, UUID], asyncio.Task[_Known]] = {}
        self._changes = 0  # how often something was to be forgotten

    @property
    def changes(self) -> int:
        """A number that is another one when rights may have changed since."""
        return self._changes

    async def actor(self, token: str) -> Actor:
        """Who the access token stands for; an empty one is a header that held none. Raises Unauthenticated."""
        if not token:
            raise Unauthenticated("malformed authorization header: it must be `Bearer` and a token")
        claims = self._tokens.read_access(token, time.time())
        return await self.account(claims.tenant_id, claims.user_id)

    async def account(self, tenant_id: UUID, user_id: UUID) -> Actor:
        """The account as it is at this moment: whoever acts for it has its rights. Raises Unauthenticated."""
        key = (tenant_id, user_id)
        known = self._known.get(key)
        if known is None or known.trusted_until <= time.monotonic():
            known = await self._looked_up_once(key)
        if known.actor is None:
            raise Unauthenticated("principal disabled")
        return known.actor

    async def _looked_up_once(self, key: tuple[UUID, UUID]) -> _Known:
        """The account as it is now, looked at once for all who ask meanwhile: hundreds of streams hear of a change."""
        looking = self._looking.get(key)
        if looking is None:
            looking = self._looking[key] = asyncio.create_task(self._looked_up(key))
            looking.add_done_callback(partial(self._has_looked, key))
        return await asyncio.shield(looking)  # one of them may give up

    def _has_looked(self, key: tuple[UUID, UUID], looked: "asyncio.Task[_Known]") -> None:
        if self._looking.get(key) is looked:
            del self._looking[key]
        if not looked.cancelled():
            looked.exception()  # told to those who still wait, if any

    async def _looked_up(self, key: tuple[UUID, UUID]) -> _Known:
        """The account as it is now. What may have changed while we looked is not believed any longer than this once."""
        changes = self._changes
        actor = await self._look_up(*key)
        known = _Known(actor, time.monotonic() + (TRUSTED_S if changes == self._changes else 0))
        self._known[key] = known
        while len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
        return known

    async def _look_up(self, tenant_id: UUID, user_id: UUID) -> Actor | None:
        rows = await self._fetch(Statement(_ACCOUNT_SQL, (tenant_id, user_id)))
        if not rows or rows[0]["disabled_at"] is not None or rows[0]["kind"] == AccountKind.SYSTEM:
            return None
        return Actor(tenant_id, user_id, rows[0]["contact"], Grants(rows[0]["keys"]))

    def forget(self, tenant_id: UUID, user_id: UUID | None) -> None:
        """Look again at an account of the tenant (at all of them, for None) when it next asks."""
        self._changes += 1
        remembered: tuple[MutableMapping[tuple[UUID, UUID], Any], ...] = (self._known, self._looking)
        for kept in remembered:
            if user_id is not None:
                kept.pop((tenant_id, user_id), None)
                continue
            for key in [key for key in kept if key[0] == tenant_id]:
                del kept[key]
