"""Integrations: the catalog, connections, bindings, and doing actions."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import strawberry

from domain.access.permissions import EVERYTHING, Permission, integration_key
from domain.integrations import actions, authorizing, bindings, configuring, connections, deploying, model, service
from domain.integrations.definition import Definition
from domain.integrations.ports import IntegrationView
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Code
from graph.rules import PUBLIC, Access, about, bounded, mutation, query
from graph.scalars import Json, JsonObject

Info = strawberry.Info[Ctx, None]

ADMIN = Access(permission=EVERYTHING)
INSTALLER = Access(permission=Permission.APPS_INSTALL)
MAY_RUN = Access(permission=integration_key("{integration}", "{action}"))

IntegrationId = Annotated[strawberry.ID, about("The integration, which is the id of its app.")]
Label = Annotated[str, bounded("What to tell it from others by.", min_length=1, max_length=configuring.LABEL_CHARS_MAX)]
Credentials = Annotated[JsonObject, about("What the other service takes; kept in the vault.")]
ConnectionId = Annotated[UUID, about("The connection.")]
AppId = Annotated[strawberry.ID, about("The app.")]

BindingScope = strawberry.enum(
    bindings.Scope, name="BindingScope", description="For whom an app may use an integration."
)
Scope = Annotated[BindingScope, about("For everybody who uses the app, or for oneself.")]  # type: ignore[valid-type]


@strawberry.type(description="Something an integration can do.")
class IntegrationAction:
    id: strawberry.ID
    name: str
    description: str
    input_schema: Json | None = strawberry.field(description="The JSON Schema of its input.")
    output_schema: Json | None


@strawberry.type(description="Something another service tells an integration of.")
class IntegrationWebhook:
    name: str
    method: str


@strawberry.interface(description="What can be told of an integration, whether it is deployed or not.")
class IntegrationInfo:
    id: strawberry.ID
    name: str
    version: str
    description: str
    actions: list[IntegrationAction]
    actions_json: Json = strawberry.field(description="The actions as the manifest has them.")
    config_schema: Json | None = strawberry.field(
        description="The JSON Schema of its configuration; a property with `platformSecret` is kept under that key."
    )
    user_auth: Json | None = strawberry.field(description="How people connect their accounts.")
    webhooks: list[IntegrationWebhook]
    instructions: str | None = strawberry.field(description="For agents.")


@strawberry.type(description="An integration that is deployed.")
class Integration(IntegrationInfo):
    configured: bool = strawberry.field(description="Whether the secrets it cannot do without are set.")


@strawberry.type(description="An integration that can be deployed.")
class CatalogIntegration(IntegrationInfo):
    pass


@strawberry.type(description="An integration that was deployed.")
class IntegrationDeployment:
    integration: Integration
    webhook_token: str = strawberry.field(
        description="Who has it may tell the integration of events, at /api/v1/hooks/{token}. It stays the same."
    )


@strawberry.type(description="Somebody's account at another service. Its credentials are never shown.")
class IntegrationConnection:
    id: UUID
    integration_id: strawberry.ID
    user_id: UUID
    label: str | None
    created_at: datetime
    updated_at: datetime
    dead_at: datetime | None = strawberry.field(
        description="Since when the other service takes its credentials no more."
    )


@strawberry.type(description="How somebody stands with an integration.")
class IntegrationStanding:
    connected: bool = strawberry.field(description="Whether there is a connection that works.")
    connections: int
    dead: int = strawberry.field(description="How many of them don't work any more.")


@strawberry.type(description="A client configuration with a name.")
class IntegrationConfig:
    id: UUID
    label: str
    created_at: datetime

    @strawberry.field(description="It has its values from the beginning.")
    def configured(self) -> bool:
        return True


@strawberry.type(description="An app that may use an integration.")
class IntegrationBinding:
    id: UUID
    app_id: strawberry.ID
    integration_id: strawberry.ID
    user_id: UUID | None = strawberry.field(description="For whom; null for everybody.")
    connection_id: UUID | None = strawberry.field(description="With which connection; null for that of who calls.")
    created_at: datetime

    @strawberry.field(description="A binding that is there is in force.")
    def enabled(self) -> bool:
        return True

    @strawberry.field(description="For everybody, or for oneself.")
    def scope(self: model.IntegrationBinding) -> BindingScope:  # type: ignore[valid-type]
        return bindings.Scope.APP if self.user_id is None else bindings.Scope.USER


@strawberry.type(description="How to go on with connecting.")
class IntegrationAuthStart:
    result: Json = strawberry.field(
        description="`type` is `redirect`, with the `url` to send the browser to, or `credentials`, with the `schema` "
        "of what to ask for; an integration with code may say other things."
    )
    browser_key: str = strawberry.field(
        description="The browser must bring it back, to be known as the one that began."
    )


@strawberry.type(description="Somebody is connected.")
class IntegrationConnected:
    integration: str = strawberry.field(description="Its name.")
    account: str = strawberry.field(description="Whose account here it is connected for.")


@strawberry.type(description="Another browser came back than began: whoever sits there is to say that they mean to.")
class IntegrationConfirmation:
    integration: str
    account: str
    token: str = strawberry.field(description="For `confirmIntegrationAuth`.")


@strawberry.type(description="The other service did not agree, or cannot be understood.")
class IntegrationNotConnected:
    integration: str
    problem: str


IntegrationAuthOutcome = Annotated[
    IntegrationConnected | IntegrationConfirmation | IntegrationNotConnected,
    strawberry.union("IntegrationAuthOutcome", description="What came of being sent to the other service."),
]


def _told(manifest: dict[str, Any]) -> dict[str, Any]:
    """What is told of an integration that has this manifest, or the like."""
    return {
        "id": strawberry.ID(manifest["appId"]),
        "name": manifest["name"],
        "version": manifest["version"],
        "description": manifest["description"],
        "actions": [
            IntegrationAction(
                id=action["id"],
                name=action["name"],
                description=action["description"],
                input_schema=action.get("inputSchema"),
                output_schema=action.get("outputSchema"),
            )
            for action in manifest["actions"]
        ],
        "actions_json": Json(list(manifest["actions"])),
        "config_schema": manifest.get("configSchema"),
        "user_auth": manifest.get("userAuth"),
        "webhooks": [IntegrationWebhook(name=hook["name"], method=hook["method"]) for hook in manifest["webhooks"]],
        "instructions": manifest.get("instructions"),
    }


def _of_catalog(definition: Definition) -> CatalogIntegration:
    return CatalogIntegration(**_told(dict(definition.manifest)))


def _integration(view: IntegrationView) -> Integration:
    manifest = {
        "appId": view.id,
        "name": view.name,
        "version": view.version,
        "description": view.description,
        "actions": view.actions,
        "configSchema": view.config_schema,
        "userAuth": view.user_auth,
        "webhooks": view.webhooks,
        "instructions": view.instructions,
    }
    return Integration(**_told(manifest), configured=view.configured)


def _outcome(came_to: authorizing.Outcome) -> Any:
    match came_to:
        case authorizing.Connected():
            return IntegrationConnected(integration=came_to.integration, account=came_to.account)
        case authorizing.Unconfirmed():
            return IntegrationConfirmation(
                integration=came_to.integration, account=came_to.account, token=came_to.token
            )
    return IntegrationNotConnected(integration=came_to.integration, problem=came_to.problem)


@strawberry.type
class IntegrationsQuery:
    @query()
    async def integrations(self, info: Info) -> list[Integration]:
        """The deployed integrations, by name."""
        return [_integration(view) for view in await service.installed(info.context)]

    @query(refuses=[Code.NOT_FOUND])
    async def integration(self, info: Info, id: IntegrationId) -> Integration:
        """One deployed integration."""
        return _integration(await service.integration(info.context, id))

    @query()
    async def integration_catalog(self, info: Info) -> list[CatalogIntegration]:
        """The integrations that can be deployed, by name."""
        return [_of_catalog(definition) for definition in await deploying.catalog(info.context)]

    @query(graphql_type=list[IntegrationConnection], refuses=[Code.NOT_FOUND])
    async def integration_connections(
        self, info: Info, integration: IntegrationId
    ) -> list[model.IntegrationConnection]:
        """One's own connections with an integration, newest first."""
        return list(await connections.mine(info.context, integration))

    @query(refuses=[Code.NOT_FOUND, Code.FORBIDDEN])
    async def integration_standing(
        self,
        info: Info,
        integration: IntegrationId,
        agent_app: Annotated[strawberry.ID | None, about("An agent's app, for administrators; else oneself.")] = None,
    ) -> IntegrationStanding:
        """Whether one is connected with an integration, or an agent is."""
        found = await connections.standing(info.context, integration, agent_app)
        return IntegrationStanding(connected=found.connected, connections=found.connections, dead=found.dead)

    @query(access=ADMIN, refuses=[Code.NOT_FOUND])
    async def integration_users(self, info: Info, integration: IntegrationId) -> list[UUID]:
        """Who has a connection with an integration that works."""
        return list(await connections.users(info.context, integration))

    @query(graphql_type=list[IntegrationConfig], refuses=[Code.NOT_FOUND])
    async def integration_configs(self, info: Info, integration: IntegrationId) -> list[model.IntegrationConfig]:
        """The named client configurations of an integration, oldest first."""
        return list(await configuring.configs(info.context, integration))

    @query(graphql_type=list[IntegrationBinding], refuses=[Code.NOT_FOUND])
    async def integration_bindings(self, info: Info, app: AppId) -> list[model.IntegrationBinding]:
        """The integrations an app may use: for everybody, and for oneself."""
        return list(await bindings.bindings(info.context, app))


@strawberry.type
class IntegrationsMutation:
    @mutation(access=INSTALLER, refuses=[Code.NOT_FOUND, Code.CONFLICT, Code.UPSTREAM_FAILED])
    async def deploy_integration(
        self, info: Info, id: Annotated[strawberry.ID, about("As the catalog has it.")]
    ) -> IntegrationDeployment:
        """Deploy an integration of the catalog, or bring a deployed one to the form it has there now."""
        done = await deploying.deploy(info.context, id)
        shown = _integration(await service.integration(info.context, id))
        return IntegrationDeployment(integration=shown, webhook_token=done.webhook_token)

    @mutation(access=INSTALLER)
    async def remove_integration(self, info: Info, id: IntegrationId) -> strawberry.ID:
        """Take an integration away with its secrets, connections and bindings; one that is away already stays so."""
        await deploying.remove(info.context, id)
        return id

    @mutation(access=ADMIN, refuses=[Code.NOT_FOUND, Code.FORBIDDEN])
    async def configure_integration(
        self,
        info: Info,
        id: IntegrationId,
        values: Annotated[JsonObject, about("Texts by field. An empty one deletes.")],
    ) -> Integration:
        """Write the secrets of an integration's configuration."""
        await configuring.configure(info.context, id, dict(values))
        return _integration(await service.integration(info.context, id))

    @mutation(access=MAY_RUN, refuses=[Code.NOT_FOUND, Code.CONFLICT, Code.UPSTREAM_FAILED, Code.FORBIDDEN])
    async def run_integration_action(
        self,
        info: Info,
        integration: IntegrationId,
        action: Annotated[strawberry.ID, about("The action.")],
        input: Annotated[Json | None, about("As the action's schema wants it; an empty object without it.")] = None,
        app: Annotated[strawberry.ID | None, about("An app that is bound to the integration, to act for it.")] = None,
        connection: Annotated[UUID | None, about("With which connection; else the newest, or the app's.")] = None,
    ) -> Json | None:
        """What an action of an integration answers, its own failures included: those have `ok: false`."""
        given: Any = {} if input is None else input
        asked = actions.Asked(integration, action, given, app_id=app, connection_id=connection)
        return Json(await actions.run(info.context, asked))

    @mutation(refuses=[Code.NOT_FOUND, Code.CONFLICT, Code.UPSTREAM_FAILED, Code.RATE_LIMITED])
    async def begin_integration_auth(
        self,
        info: Info,
        integration: IntegrationId,
        config: Annotated[UUID | None, about("A named client configuration.")] = None,
        browser_key: Annotated[str | None, about("What the browser got when it began before.")] = None,
    ) -> IntegrationAuthStart:
        """Begin to connect one's account at the other service. Good for ten minutes."""
        begun = await authorizing.begin(info.context, integration, config, browser_key)
        return IntegrationAuthStart(result=Json(begun.result), browser_key=begun.browser_key)

    @mutation(access=PUBLIC)
    async def finish_integration_auth(
        self,
        info: Info,
        state: Annotated[str, about("As the other service sent it back.")],
        query: Annotated[JsonObject | None, about("All it sent back: code, error and whatever else.")] = None,
        browser_key: Annotated[str | None, about("What the browser got when it began.")] = None,
        from_browser: Annotated[bool, about("A browser asks: without the key it is to confirm.")] = False,
    ) -> IntegrationAuthOutcome:
        """Connect whoever began, by what the other service sent back. The state is used up."""
        told = {name: value for name, value in (query or {}).items() if isinstance(value, str)}
        back = authorizing.Comeback(state, told, browser_key, from_browser)
        return _outcome(await authorizing.finish(info.context, back))

    @mutation(access=PUBLIC)
    async def confirm_integration_auth(
        self, info: Info, token: Annotated[str, about("Of the confirmation that was asked for.")]
    ) -> IntegrationAuthOutcome:
        """Connect whoever began, as the person in another browser has said they mean to."""
        return _outcome(await authorizing.confirm(info.context, token))

    @mutation(graphql_type=IntegrationConnection, refuses=[Code.NOT_FOUND])
    async def connect_integration(
        self,
        info: Info,
        integration: IntegrationId,
        credentials: Credentials,
        label: Annotated[str | None, about("A connection with the same label is written over.")] = None,
    ) -> model.IntegrationConnection:
        """Connect by what one has entered: a key, say."""
        return await connections.enter_credentials(info.context, integration, dict(credentials), label)

    @mutation(refuses=[Code.NOT_FOUND])
    async def disconnect_integration(self, info: Info, integration: IntegrationId) -> int:
        """Delete all of one's connections with an integration; how many there were."""
        return await connections.disconnect(info.context, integration)

    @mutation(access=ADMIN, graphql_type=IntegrationStanding, refuses=[Code.NOT_FOUND, Code.CONFLICT])
    async def delegate_integration(
        self, info: Info, integration: IntegrationId, agent_app: Annotated[strawberry.ID, about("The agent's app.")]
    ) -> IntegrationStanding:
        """Let an agent use one's newest connection, whoever invokes it."""
        await connections.delegate(info.context, integration, agent_app)
        found = await connections.standing(info.context, integration, agent_app)
        return IntegrationStanding(connected=found.connected, connections=found.connections, dead=found.dead)

    @mutation(graphql_type=IntegrationConnection, refuses=[Code.NOT_FOUND, Code.FORBIDDEN])
    async def rename_integration_connection(
        self, info: Info, integration: IntegrationId, id: ConnectionId, label: Label
    ) -> model.IntegrationConnection:
        """Give one of one's connections another label."""
        return await connections.rename(info.context, integration, id, label)

    @mutation(graphql_type=IntegrationConnection, refuses=[Code.NOT_FOUND, Code.FORBIDDEN])
    async def delete_integration_connection(
        self, info: Info, integration: IntegrationId, id: ConnectionId
    ) -> model.IntegrationConnection:
        """Delete one of one's connections."""
        return await connections.forget(info.context, integration, id)

    @mutation(access=ADMIN, graphql_type=IntegrationConfig, refuses=[Code.NOT_FOUND])
    async def create_integration_config(
        self, info: Info, integration: IntegrationId, label: Label, credentials: Credentials
    ) -> model.IntegrationConfig:
        """Write a client configuration with a name: what it has goes before what everybody has."""
        return await configuring.create_config(info.context, integration, label, dict(credentials))

    @mutation(access=ADMIN, graphql_type=IntegrationConfig, refuses=[Code.NOT_FOUND])
    async def delete_integration_config(
        self, info: Info, integration: IntegrationId, id: Annotated[UUID, about("The configuration.")]
    ) -> model.IntegrationConfig:
        """Delete a named client configuration that no connection was made with."""
        return await configuring.delete_config(info.context, integration, id)

    @mutation(graphql_type=IntegrationBinding, refuses=[Code.NOT_FOUND, Code.FORBIDDEN])
    async def bind_integration(
        self,
        info: Info,
        app: AppId,
        integration: IntegrationId,
        connection: Annotated[UUID | None, about("With which connection; else that of who calls.")] = None,
        scope: Scope = bindings.Scope.USER,
    ) -> model.IntegrationBinding:
        """Let an app use an integration. For everybody it takes `integration:{id}:manage`."""
        return await bindings.bind(info.context, app, integration, connection, scope)

    @mutation(graphql_type=IntegrationBinding, refuses=[Code.NOT_FOUND, Code.FORBIDDEN])
    async def unbind_integration(
        self, info: Info, app: AppId, integration: IntegrationId, scope: Scope = bindings.Scope.USER
    ) -> model.IntegrationBinding:
        """Let an app use an integration no longer."""
        return await bindings.unbind(info.context, app, integration, scope)
