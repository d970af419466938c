"""Facts about deployed code."""

from dataclasses import dataclass
from typing import ClassVar

from domain.kernel.events import Event


@dataclass(frozen=True)
class AppDeployed(Event):
    """A new version of a part of an app is in use. `part` is `backend` or `frontend`."""

    kind: ClassVar[str] = "app.deployed"
    app_id: str
    part: str
