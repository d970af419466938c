"""Facts about apps."""

from dataclasses import dataclass
from typing import ClassVar

from domain.kernel.events import Event


@dataclass(frozen=True)
class AppChanged(Event):
    """An app was installed, changed or uninstalled."""

    kind: ClassVar[str] = "app.changed"
    app_id: str
