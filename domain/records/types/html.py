"""HTML as people may store it: what formats text stays, everything else goes.

The answer is written anew from what was understood, tag by tag with the attributes of a list, so nothing that a browser
reads differently from us comes through. Elements that hold no text of the document (scripts, drawings) go with what
is in them, other unknown ones leave their text. Read in one pass: html.parser takes minutes for what it doesn't
understand.
"""

import re
from collections.abc import Mapping, Sequence
from html import escape, unescape

TAGS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys("b strong i em u s sub sup mark small code pre kbd p div span blockquote".split(), ()),
    **dict.fromkeys("h1 h2 h3 h4 h5 h6 ul ol li dl dt dd table thead tbody tfoot tr caption br hr".split(), ()),
    "th": ("colspan", "rowspan"),
    "td": ("colspan", "rowspan"),
    "a": ("href", "title"),
    "img": ("src", "alt", "title", "width", "height"),
}
VOID = frozenset({"br", "hr", "img"})
HIDDEN = frozenset(
    "applet audio canvas embed head iframe math noembed noframes noscript object plaintext script select style svg"
    " template textarea title video xmp".split()
)
DEPTH_MAX = 100  # how far up an end tag is looked for
SCHEMES: Mapping[str, Sequence[str]] = {"href": ("http", "https", "mailto"), "src": ("http", "https")}

_NAME = re.compile(r"[a-zA-Z][^\s/>\x00]*")
_BEFORE_ATTRIBUTE = re.compile(r"[\s/]*")
_ATTRIBUTE = re.compile(r"=?[^\s/>=]*")
_BEFORE_VALUE = re.compile(r"\s*=\s*")
_BARE_VALUE = re.compile(r"[^\s>]*")
_IGNORED_IN_URLS = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]")
_SCHEME = re.compile(r"([a-z][a-z0-9+.\-]*):", re.IGNORECASE)
_SIZE = re.compile(r"[0-9]{1,5}%?")

Attributes = dict[str, str]


def cleaned(html: str) -> str:
    """The harmless part of some HTML, well-formed. Cleaning it again changes nothing."""
    return _Reader(html).cleaned()


class _Reader:
    """Goes through a text once. What is begun and never ended takes the rest along, as in a browser."""

    def __init__(self, html: str) -> None:
        self._html = html
        self._lower = html.lower() if len(html.lower()) == len(html) else html  # some letters grow
        self._at = 0
        self._parts: list[str] = []
        self._open: list[str] = []

    def cleaned(self) -> str:
        while self._at < len(self._html):
            start = self._html.find("<", self._at)
            self._text(self._html[self._at : start] if start >= 0 else self._html[self._at :])
            self._at = start + 1 if start >= 0 else len(self._html)
            if start >= 0:
                self._markup()
        return "".join([*self._parts, *(f"</{tag}>" for tag in reversed(self._open))])

    def _text(self, text: str) -> None:
        self._parts.append(escape(unescape(text), quote=False))

    def _past(self, end: str) -> None:
        """Go on behind the next `end`, or at the end of everything."""
        found = self._html.find(end, self._at)
        self._at = len(self._html) if found < 0 else found + len(end)

    def _markup(self) -> None:
        html, at = self._html, self._at
        if html.startswith("!--", at):
            self._past("-->")
        elif html.startswith(("!", "?"), at):
            self._past(">")
        elif html.startswith("/", at):
            name = _NAME.match(html, at + 1)
            self._past(">")
            if name is not None:
                self._end(name[0].lower())
        elif (name := _NAME.match(html, at)) is not None:
            self._at = name.end()
            attributes = self._attributes()
            if attributes is not None:
                self._begin(name[0].lower(), attributes)
        else:
            self._text("<")

    def _attributes(self) -> Attributes | None:
        """What is in a tag, up to its end; None for one that never ends. Of two with one name the first counts."""
        found: Attributes = {}
        html = self._html
        while True:
            self._at = _matched(_BEFORE_ATTRIBUTE, html, self._at)[1]
            if self._at >= len(html):
                return None
            if html[self._at] == ">":
                self._at += 1
                return found
            name, self._at = _matched(_ATTRIBUTE, html, self._at)
            value = ""
            equals = _BEFORE_VALUE.match(html, self._at)
            if equals is not None:
                self._at = equals.end()
                quote = html[self._at : self._at + 1]
                if quote in ("'", '"'):
                    begin = self._at + 1
                    self._at = begin
                    self._past(quote)
                    value = html[begin : self._at - 1]
                else:
                    value, self._at = _matched(_BARE_VALUE, html, self._at)
            found.setdefault(name.lower(), unescape(value))

    def _begin(self, tag: str, attributes: Attributes) -> None:
        if tag in HIDDEN:
            end = self._lower.find(f"</{tag}", self._at)
            self._at = len(self._html) if end < 0 else end
        elif tag in TAGS:
            kept = (
                f' {name}="{escape(attributes[name])}"' for name in TAGS[tag] if _harmless(name, attributes.get(name))
            )
            self._parts.append(f"<{tag}{''.join(kept)}>")
            if tag not in VOID:
                self._open.append(tag)

    def _end(self, tag: str) -> None:
        if tag in self._open[-DEPTH_MAX:]:
            while (last := self._open.pop()) != tag:
                self._parts.append(f"</{last}>")
            self._parts.append(f"</{tag}>")


def _matched(pattern: re.Pattern[str], text: str, at: int) -> tuple[str, int]:
    """What matches here (maybe nothing), and where it ends."""
    match = pattern.match(text, at)
    assert match is not None
    return match[0], match.end()


def _harmless(name: str, value: str | None) -> bool:
    if value is None:
        return False
    if name in SCHEMES:
        scheme = _SCHEME.match(_IGNORED_IN_URLS.sub("", value))
        return scheme is None or scheme[1].lower() in SCHEMES[name]
    return name in ("alt", "title") or _SIZE.fullmatch(value) is not None
