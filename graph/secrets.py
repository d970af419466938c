"""The vault: names for all who manage secrets, values for nobody but those who must have the platform's."""

from datetime import datetime
from typing import Annotated

import strawberry

from domain.access.permissions import Permission
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Code
from domain.kernel.page import PageArgs
from domain.kernel.secret import SecretText
from domain.secrets import model, service
from graph.connection import FIRST, After, Connection, First, connection
from graph.rules import Access, about, bounded, mutation, query

Info = strawberry.Info[Ctx, None]

MANAGER = Access(permission=Permission.SECRETS_MANAGE)
App = Annotated[strawberry.ID | None, about("Whose secrets; those of the platform without it.")]
Key = Annotated[
    str,
    bounded(
        "The name of an environment variable; the platform's have letters, digits and underscores only.",
        min_length=1,
        max_length=service.KEY_CHARS_MAX,
    ),
]


@strawberry.type(description="A secret, without its value.")
class Secret:
    key: str
    version: int = strawberry.field(description="Counts the values there were under this key.")
    created_at: datetime
    updated_at: datetime


@strawberry.type(description="A secret that was set or deleted.")
class SecretChange:
    secret: Secret
    workers_restarted: int = strawberry.field(
        description="How many apps' workers are started anew: those of all apps for a secret of the platform."
    )


@strawberry.type(description="A secret of the platform in the clear.")
class EnvironmentVariable:
    key: str
    value: str


@strawberry.type
class SecretsQuery:
    @query(access=MANAGER, graphql_type=Connection[Secret])
    async def secrets(
        self, info: Info, app: App = None, first: First = FIRST, after: After = None
    ) -> Connection[model.Secret]:
        """The secrets of an app or of the platform, by key."""
        return connection(await service.secrets(info.context, app, PageArgs(first, after)))

    @query(access=MANAGER)
    async def platform_environment(self, info: Info) -> list[EnvironmentVariable]:
        """The platform's secrets in the clear, by key. The audit log tells who looked."""
        found = await service.platform_environment(info.context)
        return [EnvironmentVariable(key=key, value=value.text) for key, value in found.items()]


@strawberry.type
class SecretsMutation:
    @mutation(access=MANAGER, graphql_type=SecretChange)
    async def set_secret(
        self,
        info: Info,
        key: Key,
        value: Annotated[SecretText, about("At most 64 KiB of text; it is never shown again.")],
        app: App = None,
    ) -> service.SecretChange:
        """Write a secret, new or over the old one. An app need not be installed to have some."""
        return await service.set_secret(info.context, app, key, value)

    @mutation(access=MANAGER, graphql_type=SecretChange, refuses=[Code.NOT_FOUND])
    async def delete_secret(self, info: Info, key: Key, app: App = None) -> service.SecretChange:
        """Delete a secret."""
        return await service.delete_secret(info.context, app, key)
