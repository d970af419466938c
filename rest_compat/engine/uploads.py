"""How many requests with files may be under way: each holds disk, a socket and somebody's patience."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rest_compat.engine.errors import Refusal

OF_ONE_MAX = 10
OF_ALL_MAX = 200
RETRY_AFTER_S = 5.0


class Uploads:
    """Those of one process."""

    def __init__(self) -> None:
        self._under_way: Counter[str | None] = Counter()

    @contextmanager
    def one_of(self, whose: str | None) -> Iterator[None]:
        """Around one request of a caller. Raises Refusal."""
        if self._under_way[whose] >= OF_ONE_MAX or self._under_way.total() >= OF_ALL_MAX:
            raise Refusal("RATE_LIMITED", "too many files are being sent at once", retry_after_s=RETRY_AFTER_S)
        self._under_way[whose] += 1
        try:
            yield
        finally:
            self._under_way -= Counter([whose])
