"""SQL expressions a declaration may carry, in checks and indexes: a small, harmless part of SQL.

A declaration comes from whoever may install apps, not from whoever owns the database, so an expression may read
the row and compute, and nothing else: no statement may hide in it, no function outside the list.
"""

import re
from itertools import pairwise

from domain.kernel.errors import Invalid

EXPRESSION_CHARS_MAX = 2000

FUNCTIONS = frozenset(
    "abs array_length btrim cardinality ceil ceiling char_length coalesce date_part date_trunc div extract floor"
    " greatest initcap jsonb_array_length jsonb_typeof least left length lower ltrim md5 mod now nullif num_nonnulls"
    " num_nulls octet_length position power regexp_like replace reverse right round rtrim sign split_part sqrt"
    " starts_with strpos substring to_tsvector trim trunc upper"
    # words that are followed by a parenthesis without being functions
    " and any all array as between case cast else from if ilike in interval is like not or similar then when"
    " varchar char numeric decimal timestamp time".split()
)
WORDS_REFUSED = frozenset(
    ["select", "with", "table", "values", "insert", "update", "delete", "create", "drop", "alter", "grant"]
)

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<text>'(?:[^']|'')*')
      | (?P<quoted>"[a-z][a-z0-9_]*")
      | (?P<number>\d+(?:\.\d+)?)
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign>::|<=|>=|<>|!=|\|\||->>|->|@>|<@|\?|~\*|!~\*|!~|~|[-+*/%=<>(),.\[\]])""",
    re.VERBOSE,
)


def check_expression(text: str, path: str) -> str:
    """`text`, if it is an expression we let into a declaration. Raises Invalid."""
    if len(text) > EXPRESSION_CHARS_MAX:
        raise Invalid(path, f"{path} must be at most {EXPRESSION_CHARS_MAX} characters")
    tokens = list(_tokens(text, path))
    depth = 0
    for (kind, token), (_, following) in zip(tokens, [*tokens[1:], ("end", "")], strict=True):
        depth += {"(": 1, ")": -1}.get(token, 0)
        word = token.lower()
        if kind == "word" and (word in WORDS_REFUSED or (following == "(" and word not in FUNCTIONS)):
            raise Invalid(path, f"{path} must not use '{token}'")
        if depth < 0 or (kind == "quoted" and following == "("):
            break
    if depth != 0 or not tokens:
        raise Invalid(path, f"{path} is not an expression")
    return text


def _tokens(text: str, path: str) -> "list[tuple[str, str]]":
    found, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.group() == "--":
            raise Invalid(path, f"{path} has something unexpected at character {position + 1}")
        if match.lastgroup != "space":
            found.append((match.lastgroup or "", match.group()))
        position = match.end()
    for (_, one), (_, two) in pairwise(found):
        if (one, two) in (("-", "-"), ("/", "*")):
            raise Invalid(path, f"{path} must not hold comments")
    return found
