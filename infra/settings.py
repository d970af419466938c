"""Settings: one frozen dataclass, read from the environment once and passed down.

Every field is a variable `STOA_<FIELD>` (the rings of keys are STOA_SECRET_KEY and STOA_MASTER_KEY). A new setting is
one line in `Settings`; `stoa settings` prints them all with their meaning.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

from infra import keys as key_ring
from infra.failure import Misuse
from infra.keys import MASTER, SIGNING, Key, Use

T = TypeVar("T")
Network = IPv4Network | IPv6Network


class SettingsError(Misuse):
    """An environment variable that cannot be used; the message names it and says what is allowed."""


class Unusable(ValueError):
    """What is wrong with a value, and what would be right."""

    def __init__(self, problem: str, allowed: str) -> None:
        super().__init__(f"{problem}; allowed: {allowed}")


def whole_number(least: int, most: int) -> Callable[[str], int]:
    allowed = f"{least} to {most}"

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,15}", text):
            raise Unusable("is not a whole number", allowed)
        if not least <= int(text) <= most:
            raise Unusable("is out of range", allowed)
        return int(text)

    return parse


def one_of(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in names:
            raise Unusable("is not known", ", ".join(names))
        return text.lower()

    return parse


def on_or_off(text: str) -> bool:
    return one_of("on", "off")(text) == "on"


def size_bytes(text: str) -> int:
    units = {"": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30}
    match = re.fullmatch(r"([0-9]{1,15})\s*([a-z]*)", text.lower())
    if not match or match[2] not in units or int(match[1]) == 0:
        raise Unusable("is not a size", "a number of bytes above 0, or of KiB, MiB, GiB (50MiB)")
    return int(match[1]) * units[match[2]]


def host_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", text):
        raise Unusable("is not an address", "an IP address or host name (127.0.0.1, 0.0.0.0, ::1)")
    return text


def folder(text: str) -> Path:
    return Path(text).expanduser().absolute()


def url(schemes: Mapping[str, str], allowed: str) -> Callable[[str], str]:
    """A parser of addresses. `schemes` maps each accepted scheme to the one spelling of it used inside."""

    def parse(text: str) -> str:
        try:
            parts = urlsplit(text)
            _ = parts.port
        except ValueError as problem:
            raise Unusable(f"is not a URL ({problem})", allowed) from None
        if parts.scheme not in schemes:
            raise Unusable("does not start as it should", allowed)
        if not parts.netloc and not parts.path.strip("/"):
            raise Unusable("names no host", allowed)
        return urlunsplit(parts._replace(scheme=schemes[parts.scheme]))

    return parse


database_url = url(
    {"postgresql": "postgresql", "postgres": "postgresql", "postgresql+asyncpg": "postgresql"},
    "postgresql://user:password@host:5432/database",
)
valkey_url = url(
    {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"},
    "redis://host:6379/0, rediss://... for TLS, or unix:///path/of/socket",
)


def web_url(text: str) -> str:
    allowed = "https://host[:port][/path], without query or fragment"
    cleaned = url({"http": "http", "https": "https"}, allowed)(text)
    parts = urlsplit(cleaned)
    if not parts.hostname or parts.query or parts.fragment or parts.username is not None:
        raise Unusable("is not the address of a site", allowed)
    return cleaned.rstrip("/")


def origins(text: str) -> tuple[str, ...]:
    found = tuple(origin.strip().lower().rstrip("/") for origin in text.split(",") if origin.strip())
    for origin in found:
        if origin != "*" and not re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?", origin):
            raise Unusable(f"holds {origin!r}, which is no origin", "https://host[:port], comma between; or *")
    return found


def listening_at(text: str) -> str:
    host, _, port = text.rpartition(":")
    allowed = "10.0.0.5:9200, name:9200, [fd00::1]:9200"
    if not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", host):
        raise Unusable("is not a host and a port", allowed)
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise Unusable("names no port", allowed)
    return text


def networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as problem:
        raise Unusable(f"holds what is no network ({problem})", "10.0.0.0/8,127.0.0.1/32,fd00::/8") from None


def ring(use: Use) -> Callable[[str], tuple[Key, ...]]:
    def parse(text: str) -> tuple[Key, ...]:
        try:
            return key_ring.parse(text, use)
        except ValueError as problem:
            raise Unusable(str(problem), use.allowed) from None

    return parse


def setting(parse: Callable[[str], T], default: T, about: str, *, variable: str = "", secret: bool = False) -> T:
    """A field of Settings; `secret` keeps its value out of `repr`, messages and listings."""
    metadata = {"parse": parse, "about": about, "variable": variable, "secret": secret}
    made: Any = field(default=default, repr=not secret, metadata=metadata)
    return made


@dataclass(frozen=True)
class Settings:
    host: str = setting(host_name, "127.0.0.1", "address to listen on; 0.0.0.0 for all")
    port: int = setting(whole_number(0, 65535), 9100, "port to listen on; 0 takes a free one")
    data_dir: Path = setting(folder, Path(".stoa"), "folder of the embedded engines, keys and files")  # noqa: RUF009
    database_url: str | None = setting(
        database_url, None, "PostgreSQL 15 or newer; without it one is embedded", secret=True
    )
    valkey_url: str | None = setting(valkey_url, None, "Valkey or Redis; without it one is embedded", secret=True)
    keys: tuple[Key, ...] = setting(
        ring(SIGNING),
        (),
        f"signing keys, the first one signs; without it they are in {SIGNING.file_name} of the data folder",
        variable=SIGNING.variable,
        secret=True,
    )
    master_keys: tuple[Key, ...] = setting(
        ring(MASTER),
        (),
        f"keys of the vault, the first one encrypts; without it they are in {MASTER.file_name} of the data folder",
        variable=MASTER.variable,
        secret=True,
    )
    public_url: str = setting(web_url, "", "address people reach it at; without it http://host:port")
    cors_origins: tuple[str, ...] = setting(origins, (), "web origins that may call it from a browser; * for any")
    log_level: str = setting(one_of("debug", "info", "warning", "error"), "info", "least level that is logged")
    log_format: str = setting(one_of("auto", "json", "text"), "auto", "auto is text on a terminal, else json")
    workers: int = setting(whole_number(1, 64), 1, "server processes that share the port")
    password_login: bool = setting(on_or_off, True, "on: people may sign in with e-mail and password")
    body_bytes_max: int = setting(size_bytes, 50 * 2**20, "largest request body")
    upload_bytes_max: int = setting(size_bytes, 5 * 2**30, "largest file; buckets may take less")
    s3_bucket: str | None = setting(str, None, "bucket that keeps files; without it they are in the data folder")
    s3_endpoint: str | None = setting(web_url, None, "address of an S3 other than Amazon's (MinIO, R2, Ceph)")
    s3_region: str | None = setting(str, None, "region of the bucket")
    s3_access_key: str | None = setting(str, None, "who we are to S3; without it as boto3 finds out", secret=True)
    s3_secret_key: str | None = setting(str, None, "the secret that goes with STOA_S3_ACCESS_KEY", secret=True)
    s3_redirect: bool = setting(on_or_off, False, "on: signed URLs lead on to S3, which clients must reach by itself")
    sign_in_failures_per_address: int = setting(
        whole_number(0, 1_000_000),
        500,
        "failed sign-ins of one client address in a quarter of an hour; 0 for any number",
    )
    outbound_networks: tuple[Network, ...] = setting(
        networks, (), "networks that may be called beside public addresses: by sign-in, webhooks, integrations"
    )
    catalog_dir: Path | None = setting(  # noqa: RUF009
        folder, None, "folder of integrations that can be deployed: in it a folder each, with a manifest.json"
    )
    worker_address: str | None = setting(
        listening_at,
        None,
        "host:port where a worker host takes calls of servers elsewhere; else a socket in the folder",
    )
    worker_wait: int = setting(
        whole_number(0, 60), 5, "seconds that a call of deployed code waits for a worker host to come up"
    )
    worker_memory: int = setting(size_bytes, 512 * 2**20, "memory that the code of one deployed app may use")
    worker_network: bool = setting(
        on_or_off, True, "on: deployed code may call public addresses, and STOA_OUTBOUND_NETWORKS"
    )
    npm_registry: str | None = setting(
        web_url, None, "where packages of deployed code come from, if not the usual place"
    )
    llm_provider: str | None = setting(
        one_of("openai", "anthropic", "local"),
        None,
        "whose language the model of agents without code of their own speaks; local for one in a file, on this machine",
    )
    llm_base_url: str | None = setting(
        web_url, None, "address of the model's provider, or of a server like llama.cpp, vLLM, Ollama (.../v1)"
    )
    llm_key: str | None = setting(str, None, "the key for the model's provider", secret=True)
    llm_model: str | None = setting(
        str, None, "the model, as its provider calls it; the path of a GGUF file for a local one"
    )
    llm_context: int = setting(
        whole_number(512, 2**20), 8192, "tokens that a local model is told at most; it takes memory for all of them"
    )
    database_connections: int = setting(
        whole_number(1, 1000),
        10,
        "connections each process keeps at most for one kind of work; there are three",
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Settings of these variables; an empty one counts as unset. Raises SettingsError."""
        variables = {variable_of(f.name): f for f in fields(cls)}
        for name in sorted(environ):
            if name.startswith("STOA_") and name not in variables:
                raise SettingsError(_unknown(name, list(variables)))
        values: dict[str, Any] = {}
        for name, f in variables.items():
            text = environ.get(name, "").strip()
            if not text:
                continue
            try:
                values[f.name] = f.metadata["parse"](text)
            except ValueError as problem:
                shown = "" if f.metadata["secret"] else f"={text!r}"
                raise SettingsError(f"{name}{shown} {problem}") from None
        settings = cls(**values)
        return replace(
            settings,
            data_dir=settings.data_dir.absolute(),
            public_url=settings.public_url or _address(settings.host, settings.port),
        )

    def listening_on(self, port: int) -> Self:
        """The same settings once the system has said which port it is (for port 0)."""
        default = self.public_url == _address(self.host, self.port)
        return replace(self, port=port, public_url=_address(self.host, port) if default else self.public_url)

    def with_keys(self) -> Self:
        """The same settings with signing keys: the given ones, else those of the data folder, made at first use."""
        return self if self.keys else replace(self, keys=key_ring.read_or_create(self.data_dir))

    def environment(self) -> dict[str, str]:
        """The variables a child process needs to come to the same settings. Keys aren't among them: it inherits
        their variables or reads the same files."""
        return {
            variable_of(f.name): text
            for f in fields(self)
            if f.name not in RINGS and (text := spelled(getattr(self, f.name)))
        }


RINGS = ("keys", "master_keys")


def variable_of(field_name: str) -> str:
    """The environment variable of a field."""
    given: str = Settings.__dataclass_fields__[field_name].metadata["variable"]
    return given or f"STOA_{field_name.upper()}"


def spelled(value: object) -> str:
    """A setting's value as one would write it into the environment; empty when there is none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    return str(value)


def listing(settings: Settings) -> list[tuple[str, str, str]]:
    """Name, value and meaning of every setting, secrets masked."""
    return [
        (variable_of(f.name), _masked(f.name, getattr(settings, f.name)), f.metadata["about"]) for f in fields(settings)
    ]


def _masked(name: str, value: object) -> str:
    if name in RINGS and isinstance(value, tuple):
        return ",".join(f"{key.kid}:***" for key in value)
    if isinstance(value, str) and (parts := urlsplit(value)).password is not None:
        return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{parts.netloc.rpartition('@')[2]}"))
    if isinstance(value, str) and "://" not in value and Settings.__dataclass_fields__[name].metadata["secret"]:
        return "***"
    return spelled(value)


def _address(host: str, port: int) -> str:
    host = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _unknown(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1, 0.5)
    return f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else "; `stoa settings` lists them")
