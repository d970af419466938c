"""An OpenID provider in the test process: it does what the standard says, or what a test wants of it instead."""

import base64
import hashlib
import itertools
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import orjson
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

CLIENT_ID = "stoa-client"
_numbers = itertools.count(1)
SECRET = "s3cret: with/odd+characters"


@dataclass
class Grant:
    """What somebody agreed to at the provider."""

    asked: dict[str, str]
    claims: dict[str, Any]


@dataclass
class Provider:
    """The knobs are for tests to turn; `claims` is put over the claims of every ID token, `header` over its header."""

    url: str = ""
    discovery: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    algorithm: str = "RS256"
    id_token: str | None = None  # instead of one that is made
    userinfo: dict[str, Any] | None = None
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)  # by path, instead of what would be said
    asked: list[str] = field(default_factory=list)  # method and path of every request
    tokens: list[dict[str, str]] = field(default_factory=list)  # what the token endpoint was asked, with who asked
    secret: str | None = SECRET

    def __post_init__(self) -> None:
        self.grants: dict[str, Grant] = {}
        self.keys: dict[str, Any] = {}
        self.rotate()

    def rotate(self, kind: str = "RSA") -> None:
        """New keys; the old ones are gone."""
        id = token_urlsafe(6)
        parameters: Any = {"kid": id, "use": "sig"}
        match kind:
            case "RSA":
                made: Any = RSAKey.generate_key(2048, parameters)
            case "EC":
                made = ECKey.generate_key("P-256", parameters)
            case _:
                made = OKPKey.generate_key("Ed25519", parameters)
        self.keys = {id: made}

    def document(self) -> dict[str, Any]:
        """The discovery document."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize?flow=web",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
            "code_challenge_methods_supported": ["S256"],
            **self.discovery,
        }

    def granted(self, location: str, **claims: Any) -> dict[str, str]:
        """What the provider sends back to whoever followed `location` and agreed to be who the claims say.

        Without claims it is somebody nobody has heard of.
        """
        assert location.startswith(f"{self.url}/authorize?flow=web&"), location
        asked = dict(parse_qsl(urlsplit(location).query))
        code = token_urlsafe(16)
        number = next(_numbers)
        self.grants[code] = Grant(asked, {"sub": f"sub-{number}", "email": f"person-{number}@example.com", **claims})
        return {"code": code, "state": asked["state"]}

    def signed(self, **claims: Any) -> str:
        """An ID token with these claims, those it must have, and those a test puts over them."""
        now = int(time.time())
        key_id, key = next(iter(self.keys.items()))
        needed = {"iss": self.url, "aud": CLIENT_ID, "sub": "sub-1", "iat": now, "exp": now + 300}
        whole = {**needed, **claims, **self.claims}
        whole = {name: value for name, value in whole.items() if value is not None}
        header = {"alg": self.algorithm, "kid": key_id, **self.header}
        header = {name: value for name, value in header.items() if value is not None}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)
            return jwt.encode(header, whole, key, algorithms=[self.algorithm])

    # Endpoints.

    def answer(self, method: str, path: str, body: bytes, headers: Any) -> tuple[int, bytes]:
        self.asked.append(f"{method} {path}")
        if path in self.answers:
            return self.answers[path]
        match f"{method} {path}":
            case "GET /.well-known/openid-configuration":
                return 200, orjson.dumps(self.document())
            case "GET /keys":
                return 200, orjson.dumps({"keys": [key.as_dict(private=False) for key in self.keys.values()]})
            case "POST /token":
                return self._token(body, headers)
            case "GET /userinfo" if self.userinfo is not None and headers["authorization"] == "Bearer opaque":
                return 200, orjson.dumps(self.userinfo)
        return 404, b""

    def _token(self, body: bytes, headers: Any) -> tuple[int, bytes]:
        form = {name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}
        self.tokens.append({**form, "authorization": headers.get("authorization", "")})
        grant = self.grants.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if (
            grant is None
            or form.get("grant_type") != "authorization_code"
            or form.get("redirect_uri") != grant.asked["redirect_uri"]
            or grant.asked["code_challenge_method"] != "S256"
            or grant.asked["code_challenge"] != challenge.rstrip(b"=").decode()
        ):
            return 400, b'{"error": "invalid_grant"}'
        made = self.id_token or self.signed(nonce=grant.asked["nonce"], **grant.claims)
        return 200, orjson.dumps({"access_token": "opaque", "token_type": "Bearer", "id_token": made})


@contextmanager
def providing(host: str = "127.0.0.1") -> Iterator[Provider]:
    """A provider that answers, until the end of the block."""
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, told = provider.answer(self.command, urlsplit(self.path).path, body, self.headers)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(told)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(told)

        do_GET = do_POST = respond

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    provider.url = f"http://{host}:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
