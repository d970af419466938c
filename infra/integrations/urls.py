"""Where integrations are reached: the addresses are RootCX's, whose clients know them."""

from urllib.parse import urlsplit, urlunsplit


class BrowserUrls:
    """See `domain.integrations.ports.IntegrationUrls`."""

    def __init__(self, public_url: str) -> None:
        self._public = public_url
        self.callback = f"{_as_registered(public_url)}/api/v1/integrations/auth/callback"

    def hook(self, token: str) -> str:
        """Where another service tells an integration, or an app, of what happened."""
        return f"{self._public}/api/v1/hooks/{token}"


def _as_registered(url: str) -> str:
    """Authorization servers have callbacks on one's own machine registered as localhost, and compare texts."""
    parts = urlsplit(url)
    if parts.hostname != "127.0.0.1":
        return url
    return urlunsplit(parts._replace(netloc=f"localhost:{parts.port}" if parts.port else "localhost"))
