"""The pieces put together: database, adapters, schema, runner. Everything that runs operations starts here."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID

from domain.access.events import AccessChanged
from domain.access.permissions import Grants
from domain.apps.catalog import Catalog
from domain.apps.events import AppChanged
from domain.identity.model import SYSTEM_USER
from domain.identity.principals import Principals
from domain.integrations import service as integrations
from domain.kernel.ctx import Actor, Ctx, Request
from domain.kernel.events import Event
from domain.kernel.ids import parse_uuid
from domain.kernel.unit import Statement
from domain.ports import Ports
from domain.workers.events import AppDeployed
from domain.workers.ports import WorkerCaller
from graph import schema as graph_schema
from graph.documents import Documents
from graph.run import Caller, Runner
from graph.typed.run import TypedSchemas
from infra.agents.models import ProviderModels
from infra.agents.runs import Runs
from infra.changes import HeardChanges
from infra.channels.chosen import messengers
from infra.channels.urls import ProviderUrls
from infra.identity.passwords import Argon2Passwords
from infra.identity.tokens import JwtTokens
from infra.integrations import urls as integration_urls
from infra.integrations.catalog import FolderCatalog
from infra.integrations.oauth import OAuthTokenClient
from infra.integrations.schemas import JsonSchemas
from infra.jobs.schedules import CronSchedules
from infra.keys import MASTER, LiveRing
from infra.limits import CountedLimits
from infra.machine import LocalMachine
from infra.observing import Operations
from infra.outbound import HttpOutbound
from infra.outbox import OutboxFeed
from infra.postgres.database import Database
from infra.seal import HmacSeal
from infra.secrets import vault
from infra.secrets.cipher import AesGcmCipher
from infra.settings import Settings
from infra.sign_in.open_id import OpenIdClient
from infra.sign_in.urls import BrowserUrls
from infra.storage.chosen import blob_store
from infra.transfer.tables import LibraryTables
from infra.workers.frontends import Frontends
from infra.workers.remote import Workers

T = TypeVar("T")
Hear = Callable[[UUID, str, dict[str, Any]], None]


class Platform:
    """The running parts. `open` makes one."""

    def __init__(self, settings: Settings, database: Database, valkey_url: str | None) -> None:
        self.settings = settings
        self.database = database
        self.observer = Operations()
        tokens = JwtTokens(settings.keys)
        self.principals = Principals(tokens, database.fetch)
        self.feed = OutboxFeed(database.fetch_anew, valkey_url, self._hear, ask=database.fetch)
        self.passwords = Argon2Passwords()
        self.limits = CountedLimits(settings.keys[0].secret, valkey_url)
        self.outbound = HttpOutbound(settings.outbound_networks)
        self.master_keys = LiveRing(settings.master_keys, settings.data_dir, MASTER)
        self.blobs = blob_store(settings)
        self.workers = Workers(database.fetch, settings.keys, settings.worker_wait)
        self.frontends = Frontends(settings.data_dir / "frontends", self.blobs, database.fetch)
        self.changes = HeardChanges()
        self.hearers: list[Hear] = [self.changes.hear]
        self.models = ProviderModels(settings, self.outbound)
        self.agents = Runs(self, database.fetch, valkey_url, settings.public_url)
        self.hearers.append(self.agents.hear)
        self.ports = Ports(
            passwords=self.passwords,
            tokens=tokens,
            seal=HmacSeal(settings.keys),
            feed=self.feed,
            machine=LocalMachine(settings.data_dir),
            catalog=Catalog(),
            cipher=AesGcmCipher(self.master_keys.now),
            outbound=self.outbound,
            limits=self.limits,
            open_id=OpenIdClient(self.outbound),
            sign_in_urls=BrowserUrls(settings.public_url),
            workers=self.workers,
            frontends=self.frontends,
            blobs=self.blobs,
            tables=LibraryTables(),
            models=self.models,
            agents=self.agents,
            changes=self.changes,
            schedules=CronSchedules(),
            password_login=settings.password_login,
            failures_per_address=settings.sign_in_failures_per_address,
            integrations=integrations,
            integration_catalog=FolderCatalog(settings.catalog_dir),
            integration_urls=integration_urls.BrowserUrls(settings.public_url),
            oauth_tokens=OAuthTokenClient(self.outbound),
            json_schemas=JsonSchemas(),
            channel_urls=ProviderUrls(settings.public_url),
            messengers=messengers(settings, self.outbound),
            upload_bytes_max=settings.upload_bytes_max,
            direct_downloads=settings.s3_redirect,
        )
        strawberry_schema = graph_schema.build_schema()
        self.sdl = graph_schema.sdl(strawberry_schema)
        schema = graph_schema.core(strawberry_schema)
        self.runner = Runner(
            Documents(
                schema, graph_schema.public_fields(strawberry_schema), graph_schema.concluding_fields(strawberry_schema)
            ),
            database,
            self.ports,
            self.principals,
            self.observer,
            self._committed,
        )

        self.typed = TypedSchemas(self.ports.seal)

    def _committed(self, tenant_id: UUID, events: Sequence[Event]) -> None:
        """What this process changed itself it sees at once; the feed tells the others."""
        for event in events:
            self._hear(tenant_id, event.kind, event.payload())
        self.feed.committed()

    def _hear(self, tenant_id: UUID, kind: str, payload: dict[str, Any]) -> None:
        if kind == AccessChanged.kind:
            self.principals.forget(tenant_id, parse_uuid(payload["user_id"]))
        elif kind == AppChanged.kind:
            self.ports.catalog.forget(tenant_id, payload["app_id"])
        elif kind == AppDeployed.kind:
            self.frontends.forget(payload["app_id"])
        for hear in self.hearers:
            hear(tenant_id, kind, payload)

    # For parts of the platform that are asked by no document.

    async def fetch(self, statement: Statement) -> Sequence[Mapping[str, Any]]:
        """Run one statement by itself."""
        return await self.database.fetch(statement)

    async def actor(self, tenant_id: UUID, caller: WorkerCaller) -> Actor:
        """Whom deployed code serves, with the rights of this moment. Raises Unauthenticated."""
        if caller.user_id is None or caller.user_id == SYSTEM_USER:
            return Actor(tenant_id, caller.user_id, caller.email, Grants(caller.permissions or ()))
        actor = await self.account(tenant_id, caller.user_id)
        if caller.permissions is None:
            return actor
        grants = actor.grants.both(Grants(caller.permissions))
        if caller.delegator_id is not None:  # who may have lost rights since the run began
            grants = grants.both((await self.account(tenant_id, caller.delegator_id)).grants)
        return replace(actor, grants=grants, delegator_id=caller.delegator_id)

    async def account(self, tenant_id: UUID, user_id: UUID) -> Actor:
        """An account with the rights of this moment. Raises Unauthenticated."""
        return await self.principals.account(tenant_id, user_id)

    async def perform(self, actor: Actor, request: Request, work: Callable[[Ctx], Awaitable[T]]) -> T:
        """What `work` comes to in a unit of its own, committed. Raises DomainError."""
        return await self.runner.perform(request.door, Caller(actor, request), work)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, database_url: str, valkey_url: str | None) -> "AsyncIterator[Platform]":
        """A platform on this database, until the end of the block."""
        async with AsyncExitStack() as parts:
            database = await Database.open(database_url, settings.database_connections)
            parts.push_async_callback(database.close)
            platform = cls(settings, database, valkey_url)
            parts.callback(platform.blobs.close)
            parts.callback(platform.passwords.close)
            for close in (
                platform.outbound.close,
                platform.limits.close,
                platform.models.close,
                platform.workers.close,
            ):
                parts.push_async_callback(close)
            parts.push_async_callback(platform.feed.stop)
            await vault.check(database, platform.ports.cipher, platform.master_keys.source)
            await platform.feed.start()
            await platform.agents.start()
            parts.push_async_callback(platform.agents.stop)
            yield platform
