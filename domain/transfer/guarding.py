"""Texts that a spreadsheet would take for formulas.

Whoever may write a record could have whoever opens its export run a formula. Such texts get an apostrophe before them,
which spreadsheets take for "this is text"; an import takes it off again. A text that already has one gets another, so
that what is read is what was written.
"""

import re

# OWASP, CSV Injection: = + - @, tab and carriage return.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")


def guarded(text: str) -> str:
    """The text, as no formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguarded(text: str) -> str:
    """The text as it was."""
    return text[1:] if _GUARDED.match(text) else text
