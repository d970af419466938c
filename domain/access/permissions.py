"""Permission keys: their grammar, what a wildcard covers, and the set a caller holds.

A key is lower-case words joined by colons, `app:crm:contacts.read`. `*` covers everything; a key ending in `:*`
covers every key that begins with what stands before the star (RootCX RBAC, "Wildcards"). `contacts.*` is a
literal, not a wildcard. A key for a verb on records covers the same with a policy's name behind it.
"""

import re
from collections.abc import Iterable
from enum import StrEnum

EVERYTHING = "*"
_KEY = re.compile(r"[a-z0-9_:.*]+")
_NARROWED = re.compile(r"(app:[^:]+:[^:]+\.(?:create|read|update|delete)):[^:]+")


class Permission(StrEnum):
    """Keys that guard the platform itself; those of apps are spelled by the functions below."""

    APPS_INSTALL = "admin:apps.install"
    APPS_CREATE = "platform:apps.create"
    APPS_DEPLOY = "admin:apps.deploy"
    AUDIT_READ = "admin:audit.read"
    SECRETS_MANAGE = "admin:secrets.manage"
    AGENTS_MANAGE = "admin:agents.manage"
    INVITE = "auth.invite"


class Verb(StrEnum):
    """What may be done with a record."""

    CREATE = "create"
    READ = "read"
    UPDATE = "update"
    DELETE = "delete"


def app_key(app_id: str, key: str) -> str:
    """The global form of an app's own key."""
    return f"app:{app_id}:{key}"


def integration_key(id: str, key: str) -> str:
    """The key for an action of an integration, or to `manage` it for others."""
    return f"integration:{id}:{key}"


def record_key(app_id: str, entity: str, verb: Verb) -> str:
    """The key that allows `verb` on the records of one entity."""
    return f"app:{app_id}:{entity}.{verb}"


def policy_key(app_id: str, entity: str, verb: Verb, policy: str) -> str:
    """The key that allows `verb` as far as a policy of the entity goes; without its name, all the way."""
    return f"{record_key(app_id, entity, verb)}:{policy}"


def tool_key(name: str) -> str:
    """The key that lets an agent use a tool."""
    return f"tool:{name}"


def is_key(text: str) -> bool:
    """Whether `text` is a well-formed key, wildcard or not."""
    return _KEY.fullmatch(text) is not None


def reveal_key(app_id: str, entity: str) -> str:
    """The key that allows to see the secrets in the records of one entity."""
    return f"app:{app_id}:{entity}.reveal"


class Grants:
    """The keys one caller holds, ready to be asked."""

    __slots__ = ("_prefixes", "everything", "keys")

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self.keys = frozenset(keys)
        self.everything = EVERYTHING in self.keys
        self._prefixes = tuple(key[:-1] for key in self.keys if key.endswith(":*"))

    def allows(self, key: str) -> bool:
        """Whether one of the keys is `key` or covers it."""
        if self.everything or key in self.keys or key.startswith(self._prefixes):
            return True
        narrowed = _NARROWED.fullmatch(key)
        return narrowed is not None and narrowed[1] in self.keys

    def allows_some(self, template: str) -> bool:
        """Whether some key of this form is allowed: `app:{app}:invoke` with any app, say."""
        if self.everything or "{" not in template:
            return self.allows(template)
        beginning = template.partition("{")[0]
        form = re.compile(re.sub(r"\\\{[a-zA-Z.]+\\\}", "[^:]+", re.escape(template)))
        overlaps = (prefix.startswith(beginning) or beginning.startswith(prefix) for prefix in self._prefixes)
        return any(overlaps) or any(form.fullmatch(key) for key in self.keys)

    def both(self, other: "Grants") -> "Grants":
        """What is allowed by each of the two."""
        return Grants({key for key in self.keys if other.allows(key)} | {key for key in other.keys if self.allows(key)})

    def __repr__(self) -> str:
        return f"Grants({sorted(self.keys)})"


NO_GRANTS = Grants()
