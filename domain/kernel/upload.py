"""Files that come with a call, before anybody has read them."""

from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable


@runtime_checkable
class Upload(Protocol):
    """A file that comes with a call. `size_bytes` is what its sender says it is, if anything.

    Its sender may take long: read it while no transaction waits, see `Ctx.apart` and `Ctx.outside`.
    """

    filename: str
    content_type: str | None
    size_bytes: int | None

    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes, as they come; they come once. Raises Invalid when they end before they are whole, TooLarge."""
        ...
