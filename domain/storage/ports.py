"""What storage needs of the outside: a place for bytes."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol
from uuid import UUID


class BlobStore(Protocol):
    """Keeps blobs, each under an id of ours, written once and never changed."""

    async def put(self, id: UUID, blocks: AsyncIterator[bytes]) -> None:
        """Keep these bytes. When it returns they outlive the machine's sudden end; until then there is no such blob.

        Whatever goes wrong with `blocks` is raised as it is, and nothing is kept. Raises Unavailable.
        """
        ...

    def open(self, id: UUID, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` up to, not including, `end`. Raises Missing, Unavailable."""
        ...

    async def delete(self, id: UUID) -> None:
        """Let the bytes go, those of a put that never came to its end as well. Raises Unavailable."""
        ...

    async def presigned_get(self, id: UUID, life_s: int, media_type: str, disposition: str) -> str | None:
        """A URL to read the blob at without us, with these headers; None where the store has no such thing."""
        ...

    async def presigned_put(self, id: UUID, life_s: int, size_bytes: int) -> str | None:
        """A URL to write exactly so many bytes to without us; None where the store has no such thing."""
        ...
