"""Facts about apps."""

from dataclasses import dataclass
from typing import ClassVar

from domain.kernel.events import Event


@dataclass(frozen=True)
class AppChanged(Event):
    """An app was installed, changed or uninstalled. `policies` is the mark of those it has now, None without an app."""

    kind: ClassVar[str] = "app.changed"
    app_id: str
    policies: str | None
