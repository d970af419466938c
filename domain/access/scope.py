"""Two ways to speak of roles: those of the whole installation, and those of one app.

One store serves both. An app's role `packer` is the stored role `crm:packer`, its key `contacts.read` the stored
key `app:crm:contacts.read`, and its built-in `admin` the stored role `app:crm:admin`, which holds `app:crm:*`.
The pseudo-app `core` is the installation itself (RootCX RBAC, "Mapping if one store serves both forms").
"""

from dataclasses import dataclass

from domain.access.permissions import EVERYTHING, app_key

ADMIN = "admin"
BASE = "base"
CORE = "core"


@dataclass(frozen=True, slots=True)
class Scope:
    """Translates names and keys between the store and one app (or, without one, leaves them alone)."""

    app_id: str | None = None

    @property
    def admin_key(self) -> str:
        """The key whose holder rules in this scope."""
        return EVERYTHING if self.app_id is None else app_key(self.app_id, EVERYTHING)

    @property
    def admin_role(self) -> str:
        """The stored name of the scope's built-in administrator role."""
        return ADMIN if self.app_id is None else app_admin_role(self.app_id)

    def stored_role(self, name: str) -> str:
        """`packer` -> `crm:packer`."""
        if self.app_id is None:
            return name
        return self.admin_role if name == ADMIN else f"{self.app_id}:{name}"

    def own_role(self, stored: str) -> str | None:
        """`crm:packer` -> `packer`; None for a role outside the scope."""
        if self.app_id is None:
            return stored
        if stored == self.admin_role:
            return ADMIN
        prefix = f"{self.app_id}:"
        return stored[len(prefix) :] if stored.startswith(prefix) else None

    def stored_key(self, key: str) -> str:
        """`contacts.read` -> `app:crm:contacts.read`; tools and integrations have keys beside the app's."""
        if self.app_id is None:
            return key
        head, _, rest = key.partition(".")
        if head == "tool" and rest:
            return f"tool:{rest}"
        if head == "integration" and "." in rest:
            return "integration:" + rest.replace(".", ":", 1)
        return app_key(self.app_id, key)

    def own_key(self, stored: str) -> str | None:
        """`app:crm:contacts.read` -> `contacts.read`; None for a key that is not the scope's."""
        if self.app_id is None:
            return stored
        prefix = app_key(self.app_id, "")
        if stored.startswith(prefix):
            return stored[len(prefix) :]
        head, _, rest = stored.partition(":")
        if head == "tool":
            return f"tool.{rest}"
        if head == "integration":
            return "integration." + rest.replace(":", ".", 1)
        return None


def scope_of(app_id: str | None) -> Scope:
    """The scope of an app; of the installation for None and for `core`."""
    return Scope(None if app_id == CORE else app_id)


def app_admin_role(app_id: str) -> str:
    """The stored name of an app's administrator role."""
    return f"app:{app_id}:{ADMIN}"
