"""Stoa's own spelling: `{stage: {in: ["Lead"]}, OR: [...], NOT: {...}}`.

Connectives are in capitals because fields never are.
"""

from domain.records.query import Op
from domain.records.spelling.reader import Reader, Words


class NativeReader(Reader):
    """An empty `OR` is never true, an empty `in` matches nothing, null is only matched by a null test."""

    words = Words(all="AND", any="OR", negation="NOT", operators={op.value: op for op in Op})
