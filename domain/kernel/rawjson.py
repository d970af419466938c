"""JSON that PostgreSQL built and nobody needs to look into: it goes into the answer as it is."""

from collections.abc import Sequence


class RawJson(str):
    """JSON text."""

    __slots__ = ()


def array_of(documents: Sequence[str]) -> RawJson:
    """The JSON array of these texts."""
    return RawJson("[" + ",".join(documents) + "]")
