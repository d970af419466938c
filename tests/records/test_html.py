"""What of HTML is stored: what formats text, well-formed, and nothing that runs or loads by another scheme."""

import time
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.records.types.html import SCHEMES, TAGS, VOID, cleaned

TOLD = [
    ("plain & simple", "plain &amp; simple"),
    ("<p>a<b>b</p>c", "<p>a<b>b</b></p>c"),
    ("<script>alert(1)</script>x", "x"),
    ("<style>p{}</style><p style='x' class=y onclick='z'>a</p>", "<p>a</p>"),
    ("<svg><p>in</p><script>1</script></svg>out", "out"),
    ("<custom>kept</custom>", "kept"),
    ("<a href='javascript:alert(1)'>x</a>", "<a>x</a>"),
    ("<a href=' java\tscript:alert(1)'>x</a>", "<a>x</a>"),
    ("<a href='&#106;avascript:alert(1)'>x</a>", "<a>x</a>"),
    ("<a href='https://a.org/?b=1&c=\"'>x</a>", '<a href="https://a.org/?b=1&amp;c=&quot;">x</a>'),
    ("<a href='mailto:a@b.org' href='javascript:1' target=_top>x</a>", '<a href="mailto:a@b.org">x</a>'),
    ("<a href='/here#there'>x</a>", '<a href="/here#there">x</a>'),
    ("<img src=data:text/html,x onerror=1><img src=https://a.org/b.png alt='c' width=10 height=1e9>",
     '<img><img src="https://a.org/b.png" alt="c" width="10">'),
    ("<br/></p></div>", "<br>"),
    ("<!-- c --><!doctype html><?php 1 ?>x", "x"),
    ("a < b > c", "a &lt; b &gt; c"),
    ("<textarea><p>x</textarea>y", "y"),
]  # fmt: skip


@pytest.mark.parametrize(("html", "kept"), TOLD)
def test_what_formats_text_stays(html: str, kept: str) -> None:
    assert cleaned(html) == kept


class Seen(HTMLParser):
    """What a parser finds in HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


PIECES = (
    "<script> </script> <SVG> </svg> <p> </p> <a\xa0href= <a <b </b> <img\nsrc= 'javascript:1' \"https://x\" onload=1"
    " > /> < <!-- --> <style </style> <textarea> <title> &lt; &#60;script> &amp;lt; <![CDATA[ ]]> <math> <table> <td"
    ' </td> <? </ = \' " <a\thref="x'
)
pieces = st.sampled_from(PIECES.split(" ")) | st.text(max_size=4)


@pytest.mark.parametrize("piece", [*PIECES.split(" "), "<a ", "<!--", "<![", "<a b='", "<p a=", "&#", "<i>", "</i>"])
def test_what_is_repeated_without_end_is_read_at_once(piece: str) -> None:
    began = time.process_time()
    cleaned(piece * (50_000 // len(piece)))
    assert time.process_time() - began < 1


@settings(max_examples=150, deadline=None)
@given(st.lists(pieces, max_size=12).map("".join))
def test_nothing_but_the_listed_comes_through_and_once_is_enough(html: str) -> None:
    kept = cleaned(html)
    assert cleaned(kept) == kept
    seen = Seen(kept)
    assert seen.open == []
    for tag, attributes in seen.tags:
        assert tag in TAGS
        for name, value in attributes:
            assert name in TAGS[tag]
            assert value is not None
            if name in SCHEMES and ":" in value.split("/")[0]:
                assert value.strip().lower().startswith(tuple(SCHEMES[name]))
