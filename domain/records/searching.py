"""Full-text search: what of a record is searched, the indexes for it, and what a text asks for.

A record is found when all the words of the text are among its own, the last one as a beginning; and, where the
declaration allows for typos, when each of its own words that are long enough is like one asked for. Both are
expressions over the row with an index each: the row itself holds nothing more than its fields.

SQL here is made for columns spelled by `of`: an index and a query, which may not show every field, say the same.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

from domain.records.declared import Search, SearchField
from domain.records.naming import literal
from domain.records.types import NotOfType

LANGUAGES = (
    "simple", "arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "finnish", "french", "german",
    "greek", "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian", "portuguese",
    "romanian", "russian", "serbian", "spanish", "swedish", "tamil", "turkish", "yiddish",
)  # fmt: skip
WEIGHTS = "ABCD"  # what PostgreSQL calls them: a word in A counts ten times one in D

TEXT_CHARS_MAX = 200  # of what is asked for
WORDS_MAX = 10
WORD_CHARS_MAX = 100_000  # of all fields of one weight: what comes behind is not searched
ALIKE_CHARS_MAX = 1_000  # of each field: what comes behind is not searched for words that are merely alike
ALIKE_LETTERS_MIN = 4  # Latin ones: shorter words, and those with digits, are too soon like others

_WORD = re.compile(r"[^\W_]+")
_OPERATORS = re.compile(r"\"|(^|\s)-\S|(^|\s)or(\s|$)", re.IGNORECASE)

Of = Callable[[SearchField], str]


# What a text asks for.


@dataclass(frozen=True, slots=True)
class Asked:
    """A search text, read. Without `alike` no typos are allowed for; `exact` are then the words that must be there."""

    text: str
    alike: tuple[str, ...] = ()
    exact: str = ""

    @property
    def shape(self) -> tuple[int, bool]:
        """What of it the SQL depends on."""
        return len(self.alike), bool(self.exact)


def reader(search: Search) -> Callable[[Any], Asked]:
    """What reads the texts asked for."""
    return asked if search.typos else lambda value: Asked(asked(value).text)


def asked(value: Any) -> Asked:
    """What a text asks for: words; `"..."` for a phrase, `or`, and `-` before what must not be there.

    The last word may be unfinished, unless something stands behind it. Raises NotOfType.
    """
    if not isinstance(value, str) or "\x00" in value:
        raise NotOfType("must be a text without the character U+0000")
    if len(value) > TEXT_CHARS_MAX:
        raise NotOfType(f"must have at most {TEXT_CHARS_MAX} characters")
    words = _WORD.findall(value)
    if not words:
        raise NotOfType("must have a word to look for")
    if len(words) > WORDS_MAX:
        raise NotOfType(f"must have at most {WORDS_MAX} words")
    unfinished = "*" if value.endswith(words[-1]) else ""
    text = f"{value}{unfinished}"
    if _OPERATORS.search(value):
        return Asked(text)
    alike = tuple(word for word in words if word.isalpha() and _latin_letters(word) >= ALIKE_LETTERS_MIN)
    if not alike:
        return Asked(text)
    exact = [word for word in words if word not in alike]
    ending = unfinished if exact and exact[-1] == words[-1] else ""
    return Asked(text, alike, " ".join(exact) + ending)


def _latin_letters(word: str) -> int:
    """How many letters PostgreSQL can compare, whatever its locale is: those without accents."""
    return len(normalize("NFKD", word).encode("ascii", "ignore"))


# In SQL.


def words(search: Search, of: Of) -> str:
    """The words of a row with their weights, as a tsvector."""
    vectors = []
    for weight in WEIGHTS:
        texts = [_text(field, of(field)) for field in search.fields if field.weight == weight]
        if texts:
            text = f"lower(left({_joined(texts)}, {WORD_CHARS_MAX}))"
            vectors.append(f"setweight(to_tsvector({literal(search.language)}::regconfig, {text}), '{weight}')")
    return " || ".join(vectors)


def letters(search: Search, of: Of) -> str:
    """The text of a row that words are alike to."""
    return (
        f"stoa.letters({_joined([f'left({_text(field, of(field))}, {ALIKE_CHARS_MAX})' for field in search.fields])})"
    )


def _text(field: SearchField, sql: str) -> str:
    return f"coalesce({f'stoa.joined({sql})' if field.listed else sql}, '')"


def _joined(texts: Sequence[str]) -> str:
    return f"({' || chr(10) || '.join(texts)})" if len(texts) > 1 else texts[0]


def meant(search: Search, text: str) -> str:
    """The tsquery of a text (an SQL expression)."""
    return f"stoa.search_query({literal(search.language)}::regconfig, {text})"
