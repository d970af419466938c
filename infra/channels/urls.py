"""Where providers reach us: the addresses are RootCX's, whose users have them in their settings."""

from urllib.parse import urlsplit
from uuid import UUID

from domain.kernel.outbound import is_loopback_name


class ProviderUrls:
    """See `domain.channels.ports.ChannelUrls`."""

    def __init__(self, public_url: str) -> None:
        host = urlsplit(public_url).hostname or ""
        self.public: str | None = None if is_loopback_name(host) or host == "::1" else public_url

    def webhook(self, public_url: str, provider: str, id: UUID) -> str:
        """Where a provider sends messages."""
        return f"{public_url}/api/v1/channels/{provider}/{id}/webhook"
