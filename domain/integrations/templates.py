"""Templates of requests: `{{input.text}}`, `{{config.baseUrl}}`, `{{credentials.access_token}}`.

A text that is one placeholder and nothing else becomes the value itself, whatever its type. Where the value is not
there, neither is what it was to be part of: an entry of an object, a header, a parameter of the query.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

import orjson

SOURCES = ("input", "config", "credentials")

_PLACEHOLDER = re.compile(r"\{\{\s*(\+?)([a-z]+)((?:\.[A-Za-z0-9_-]+)*)\s*\}\}")
_ANY_BRACES = re.compile(r"\{\{.*?\}\}|\{\{|\}\}")
_BASE = re.compile(r"(?:https?://[^/?#{}]*|\{\{[^{}]+\}\})(?:[^/?#{}]|\{\{[^{}]+\}\})*")

ABSENT: Final = object()

Values = Mapping[str, Any]  # by source


class Unfilled(Exception):
    """A place that must have a value has none. `path` says which, `config.baseUrl`."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class NotFitting(Exception):
    """A value that may not be where the template puts it. `path` says which value."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(problem)
        self.path = path


def placeholders(template: Any) -> Iterator[str]:
    """The paths that a template, or the texts in one, name. Raises ValueError for braces that are no placeholder."""
    if isinstance(template, str):
        for braces in _ANY_BRACES.findall(template):
            match = _PLACEHOLDER.fullmatch(braces)
            if match is None or match[2] not in SOURCES:
                raise ValueError(f"'{braces[:80]}' is no placeholder: use {{{{input.name}}}}, config or credentials")
            yield match[2] + match[3]
    elif isinstance(template, Mapping):
        for key, inner in template.items():
            yield from placeholders(key)
            yield from placeholders(inner)
    elif isinstance(template, list):
        for inner in template:
            yield from placeholders(inner)


def base_of(url: str) -> str:
    """The part of a URL's template that says which server it is: all before its path. Raises ValueError."""
    match = _BASE.match(url)
    if match is None or url[match.end() : match.end() + 1] not in ("", "/", "?"):
        raise ValueError("the url must begin with https:// or with a placeholder, and go on with / or ?")
    return match[0]


def filled(template: Any, values: Values) -> Any:
    """The template with its values, or ABSENT."""
    if isinstance(template, str):
        whole = _PLACEHOLDER.fullmatch(template)
        return _found(whole[2] + whole[3], values) if whole else _text(template, values, _spelled)
    if isinstance(template, Mapping):
        entries = ((key, filled(inner, values)) for key, inner in template.items())
        return {key: value for key, value in entries if value is not ABSENT}
    if isinstance(template, list):
        return [value for inner in template if (value := filled(inner, values)) is not ABSENT]
    return template


def text_of(template: str, values: Values) -> str | None:
    """The template as one text, or None."""
    made = _text(template, values, _spelled)
    return None if made is ABSENT else made


def url_of(template: str, values: Values) -> str:
    """The URL. What `base_of` tells is taken as it is, the rest is encoded: `+` leaves slashes. Raises Unfilled."""
    base, rest = base_of(template), template[len(base_of(template)) :]
    server = _text(base, values, _spelled)
    path = _text(rest, values, _spelled, encode=True)
    for part, made in ((base, server), (rest, path)):
        if made is ABSENT:
            raise Unfilled(next(name for name in placeholders(part) if _found(name, values) is ABSENT))
    return f"{server.rstrip('/')}{path}" if path.startswith("/") else f"{server}{path}"


def _text(template: str, values: Values, spell: Callable[[Any], str], *, encode: bool = False) -> Any:
    made, end = [], 0
    for match in _PLACEHOLDER.finditer(template):
        value = _found(match[2] + match[3], values)
        if value is ABSENT or value is None:
            return ABSENT
        text = spell(value)
        made += [template[end : match.start()], _encoded(match, text) if encode else text]
        end = match.end()
    return "".join([*made, template[end:]])


def _encoded(match: re.Match[str], text: str) -> str:
    """A value as a part of a path: it cannot leave the place it has. Raises NotFitting."""
    safe = "/:@!$&'()*+,;=~" if match[1] else ""
    if any(part in (".", "..") for part in text.split("/")):
        raise NotFitting(match[2] + match[3], "must not hold '.' or '..' as a part of a path")
    try:
        return quote(text.lstrip("/") if match[1] else text, safe=safe)
    except UnicodeEncodeError:
        raise NotFitting(match[2] + match[3], "must be text") from None


def _found(path: str, values: Values) -> Any:
    found: Any = values
    for step in path.split("."):
        if not isinstance(found, Mapping) or step not in found:
            return ABSENT
        found = found[step]
    return found


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
