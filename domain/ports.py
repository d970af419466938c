"""Everything the domain needs of the outside, in one hand: infra fills it once, at start."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.agents.ports import AgentRuns, Models
from domain.channels.ports import ChannelUrls, Messenger
from domain.crons.ports import Schedules
from domain.identity.ports import Passwords, Tokens
from domain.integrations.ports import Catalog as IntegrationCatalog
from domain.integrations.ports import Integrations, IntegrationUrls, OAuthTokens, Schemas
from domain.kernel.changes import Changes
from domain.kernel.events import Feed
from domain.kernel.limits import Limits
from domain.kernel.outbound import Outbound
from domain.kernel.seal import Seal
from domain.runtime.ports import Machine
from domain.secrets.ports import Cipher
from domain.sign_in.ports import OpenId, SignInUrls
from domain.storage.ports import BlobStore
from domain.transfer.ports import Tables
from domain.workers.ports import AppWorkers, Frontends

if TYPE_CHECKING:
    from domain.apps.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Ports:
    """The adapters, and the few settings the domain itself decides by."""

    passwords: Passwords
    tokens: Tokens
    seal: Seal
    feed: Feed
    machine: Machine
    catalog: "Catalog"
    cipher: Cipher
    outbound: Outbound
    limits: Limits
    open_id: OpenId
    sign_in_urls: SignInUrls
    workers: AppWorkers
    frontends: Frontends
    blobs: BlobStore
    tables: Tables
    models: Models
    agents: AgentRuns
    changes: Changes
    schedules: Schedules
    integrations: Integrations
    integration_catalog: IntegrationCatalog
    integration_urls: IntegrationUrls
    oauth_tokens: OAuthTokens
    json_schemas: Schemas
    channel_urls: ChannelUrls
    messengers: Mapping[str, Messenger]  # by provider
    password_login: bool = True
    failures_per_address: int = 500  # of signing in, in a quarter of an hour; 0 for as many as they like
    upload_bytes_max: int = 5 * 2**30
    direct_downloads: bool = False  # signed URLs lead on to where the bytes are
