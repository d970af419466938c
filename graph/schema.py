"""The whole schema of the platform."""

from collections.abc import Iterator

import strawberry
from graphql import GraphQLInputObjectType, GraphQLObjectType, GraphQLSchema, Undefined
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import merge_types
from strawberry.types.field import StrawberryField

from graph.access import AccessMutation, AccessQuery
from graph.agents import EVENTS, AgentsMutation, AgentsQuery, AgentsSubscription
from graph.apps import AppsMutation, AppsQuery
from graph.audit import AuditLogQuery
from graph.channels import ChannelsMutation, ChannelsQuery, ChannelsSubscription
from graph.collaboration import CollaborationMutation, CollaborationQuery
from graph.crons import CronsMutation, CronsQuery
from graph.history import HistoryMutation, HistoryQuery
from graph.hooks import HooksMutation, HooksQuery
from graph.identity import IdentityMutation, IdentityQuery
from graph.integrations import IntegrationsMutation, IntegrationsQuery
from graph.jobs import JobsMutation, JobsQuery, JobsSubscription
from graph.records import RecordsMutation, RecordsQuery, RecordsSubscription
from graph.rules import CONCLUDES, Access, ErrorCode, Level
from graph.runtime import RuntimeQuery
from graph.scalars import SCALARS
from graph.secrets import SecretsMutation, SecretsQuery
from graph.sign_in import SignInMutation, SignInQuery
from graph.storage import StorageMutation, StorageQuery
from graph.transfer import TransferMutation, TransferQuery, TransferSubscription
from graph.webhooks import WebhooksMutation, WebhooksQuery
from graph.workers import WorkersMutation, WorkersQuery, WorkersSubscription

Query = merge_types(
    "Query",
    (
        RuntimeQuery,
        IdentityQuery,
        AccessQuery,
        AppsQuery,
        RecordsQuery,
        HistoryQuery,
        TransferQuery,
        IntegrationsQuery,
        ChannelsQuery,
        CollaborationQuery,
        AuditLogQuery,
        SecretsQuery,
        SignInQuery,
        StorageQuery,
        WorkersQuery,
        AgentsQuery,
        JobsQuery,
        CronsQuery,
        WebhooksQuery,
        HooksQuery,
    ),
)
Mutation = merge_types(
    "Mutation",
    (
        IdentityMutation,
        AccessMutation,
        AppsMutation,
        RecordsMutation,
        HistoryMutation,
        TransferMutation,
        CollaborationMutation,
        SecretsMutation,
        IntegrationsMutation,
        ChannelsMutation,
        SignInMutation,
        StorageMutation,
        WorkersMutation,
        AgentsMutation,
        JobsMutation,
        CronsMutation,
        WebhooksMutation,
        HooksMutation,
    ),
)
Subscription = merge_types(
    "Subscription",
    (
        RecordsSubscription,
        WorkersSubscription,
        AgentsSubscription,
        JobsSubscription,
        TransferSubscription,
        ChannelsSubscription,
    ),
)


def build_schema() -> strawberry.Schema:
    """The schema, with its resolvers."""
    schema = strawberry.Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=[ErrorCode, *EVENTS.values()],
        config=StrawberryConfig(scalar_map=SCALARS),
    )
    _drop_null_defaults(core(schema))
    return schema


def _drop_null_defaults(schema: GraphQLSchema) -> None:
    """What may be left out says so by being nullable; `= null` beside it tells nobody anything."""
    for type in schema.type_map.values():
        inputs = list(type.fields.values()) if isinstance(type, GraphQLInputObjectType) else []
        for field in type.fields.values() if isinstance(type, GraphQLObjectType) else ():
            inputs += field.args.values()
        for input in inputs:
            if input.default_value is None:
                input.default_value = Undefined


def sdl(schema: strawberry.Schema) -> str:
    """The schema as text, as it is committed in `schema.graphql`."""
    return schema.as_str() + "\n"


def core(schema: strawberry.Schema) -> GraphQLSchema:
    """What graphql-core executes."""
    return schema._schema


def public_fields(schema: strawberry.Schema) -> dict[tuple[str, str], Level]:
    """The root fields that ask for no credential, as (`Query`, `health`): PUBLIC or GUEST."""
    found = {(root, "__typename"): Level.GUEST for root in ("Query", "Mutation", "Subscription")}
    for type, name, field in _root_fields(schema):
        level = next((d.level for d in field.directives if isinstance(d, Access)), Level.USER)
        if level is not Level.USER:
            found[type, name] = level
    return found


def concluding_fields(schema: strawberry.Schema) -> frozenset[str]:
    """The mutations that may come to a single statement."""
    return frozenset(name for _, name, field in _root_fields(schema) if field.metadata.get(CONCLUDES))


def _root_fields(schema: strawberry.Schema) -> Iterator[tuple[str, str, StrawberryField]]:
    """The root fields with the names of their types and their own."""
    for root in (schema.query, schema.mutation, schema.subscription):
        definition = root.__strawberry_definition__  # type: ignore[union-attr]
        for field in definition.fields:
            yield definition.name, schema.config.name_converter.get_graphql_name(field), field
