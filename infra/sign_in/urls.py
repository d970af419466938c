"""Where signing in happens, in a browser: the addresses are RootCX's, whose clients know them."""

from urllib.parse import quote

BASE = "/api/v1/auth"


class BrowserUrls:
    """See `domain.sign_in.ports.SignInUrls`."""

    def __init__(self, public_url: str) -> None:
        self.public = public_url
        self.callback = f"{public_url}{BASE}/oidc/callback"

    def authorize(self, provider_id: str) -> str:
        """Where a browser begins to sign in by this provider."""
        return f"{self.public}{BASE}/oidc/{quote(provider_id, safe='')}/authorize"

    def magic_link(self, token: str) -> str:
        """The page that asks whether to sign in."""
        return f"{self.public}{BASE}/magic-link/consume?token={token}"
