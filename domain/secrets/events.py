"""Facts about secrets."""

from dataclasses import dataclass
from typing import ClassVar

from domain.kernel.events import Event


@dataclass(frozen=True)
class SecretsChanged(Event):
    """A secret of this scope was set or deleted; workers that have the old environment run with it still."""

    kind: ClassVar[str] = "secrets.changed"
    scope: str
