"""SQL expressions a declaration may carry, in checks and indexes: a small, harmless part of SQL.

A declaration comes from whoever may install apps, not from whoever owns the database, so an expression may read
the row and compute, and nothing else. Every word in it must be one we know: a column of the entity, a function of
the list, a keyword, a type. Columns are quoted on the way, so that none of them is ever taken for a keyword.
"""

import re
from collections.abc import Collection, Iterator
from itertools import pairwise

from domain.kernel.errors import Invalid

EXPRESSION_CHARS_MAX = 2000

FUNCTIONS = frozenset(
    "abs array_length btrim cardinality ceil ceiling char_length coalesce date_part date_trunc div extract floor"
    " greatest initcap jsonb_array_length jsonb_typeof least left length lower ltrim md5 mod now nullif num_nonnulls"
    " num_nulls octet_length position power regexp_like replace reverse right round rtrim sign split_part sqrt"
    " starts_with strpos substring to_tsvector trim trunc upper".split()
)
KEYWORDS = frozenset(
    "all and any array as at between both case cast distinct else end escape false for from ilike in is isnull"
    " leading like not notnull null or similar symmetric then to trailing true unknown when with without zone"
    # moments, and the parts of one that `extract` knows
    " current_date current_time current_timestamp century day decade dow doy epoch hour isodow isoyear microseconds"
    " millennium milliseconds minute month quarter second timezone week year"
    # types
    " bigint bool boolean char character date decimal double float float4 float8 int int2 int4 int8 integer interval"
    " json jsonb numeric precision real smallint text time timestamp timestamptz uuid varchar varying".split()
)

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<comment>--|/\*)
      | (?P<text>'(?:[^']|'')*')
      | (?P<quoted>"[a-z][a-z0-9_]*")
      | (?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)
      # a word right before a quote would change what the quoted text means: E'..', U&'..'
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)(?![A-Za-z0-9_'"])
      | (?P<sign>::|<=|>=|<>|!=|\|\||->>|->|@>|<@|\?|~\*|!~\*|!~|~|[-+*/%=<>(),\[\]])""",
    re.VERBOSE,
)


def checked_expression(text: str, columns: Collection[str], path: str, before_column: str = "") -> str:
    """`text` as SQL that may be put into a declaration's DDL, in parentheses. Raises Invalid.

    `before_column` is put before each column.
    """
    if len(text) > EXPRESSION_CHARS_MAX:
        raise Invalid(path, f"{path} must be at most {EXPRESSION_CHARS_MAX} characters")
    tokens = [*_tokens(text, path), ("end", "")]
    known, depth = [], 0
    for (kind, token), (_, following) in pairwise(tokens):
        if kind in ("word", "quoted"):
            token = _word(token, following, columns, path, before_column)
        known.append(token)
        depth += {"(": 1, ")": -1}.get(token, 0)
        if depth < 0:
            break
    if depth != 0 or not known:
        raise Invalid(path, f"{path} is not an expression")
    return " ".join(known)


def _word(token: str, following: str, columns: Collection[str], path: str, before_column: str) -> str:
    """A function or keyword as it is, a column in quotes. Raises Invalid for any other word."""
    name = token.lower().strip('"')
    keyword = token == token.strip('"') and (name in KEYWORDS or (following == "(" and name in FUNCTIONS))
    if keyword:
        return token
    if name not in columns or following == "(":
        raise Invalid(path, f"{path} must not use '{token[:80]}'")
    return f'{before_column}"{name}"'


def _tokens(text: str, path: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup == "comment":
            raise Invalid(path, f"{path} has something unexpected at character {position + 1}")
        if match.lastgroup != "space":
            yield match.lastgroup or "", match.group()
        position = match.end()
