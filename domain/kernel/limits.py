"""How often something may be done: counted for all processes of the installation, where they can ask each other."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Allowance:
    """At most `most` uses for one key in any `within_s` seconds. `name` tells the allowances apart."""

    name: str
    most: int
    within_s: float


class Use(Protocol):
    """One use that was counted."""

    async def give_back(self) -> None:
        """Let it be as if it had not been."""
        ...


class Limits(Protocol):
    """Counts uses. Keys may hold what people typed: they are stored as nobody can read them."""

    async def take(self, allowance: Allowance, key: str) -> Use:
        """Count a use. Raises Limited, with nothing counted, where there are as many as may be."""
        ...

    async def remember(self, key: str, life_s: float) -> None:
        """Know this key again for so long. It may be forgotten earlier."""
        ...

    async def remembers(self, key: str) -> bool:
        """Whether the key was to be remembered, and is."""
        ...

    def turn(self, key: str) -> AbstractAsyncContextManager[None]:
        """Go one after the other, in this process, with all who wait for a turn at this key."""
        ...
