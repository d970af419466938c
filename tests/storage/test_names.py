"""What files, buckets and types may be called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.kernel.errors import Invalid
from domain.storage.names import clean_media_type, clean_name, is_allowed, is_harmless, key_of


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a.txt", "a.txt"),
        ("  a b.txt\t", "a b.txt"),
        ("Übung\u0308.txt", "Übung\u0308.txt"),
        ("u\u0308ber", "\u00fcber"),
        ("日本語.pdf", "日本語.pdf"),
        ("👩\u200d🚀.png", "👩\u200d🚀.png"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("...", "..."),
        (".env", ".env"),
        ("a" * 255, "a" * 255),
        ("con", "con"),
        ("a%2Fb", "a%2Fb"),
        ('say "hi"; x=1', 'say "hi"; x=1'),
    ],
)
def test_names_that_are_taken(name: str, kept: str) -> None:
    assert clean_name(name) == kept


@pytest.mark.parametrize(
    "name",
    [
        "",
        "   ",
        ".",
        "..",
        "../a",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "..\\..\\a",
        "a\x00b",
        "a\r\nSet-Cookie: x=1",
        "a\x7f",
        "a\x85b",
        "a\u2028b",
        "a\u202egpj.exe",
        "a\u2066b",
        "\ud800",
        "a" * 256,
        "a" * 5000,
    ],
)
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        clean_name(name)
    assert refused.value.field == "name"


@given(st.text(max_size=300))
def test_a_name_that_is_taken_is_one_line_of_a_folder(name: str) -> None:
    try:
        cleaned = clean_name(name)
    except Invalid:
        return
    assert 0 < len(cleaned) <= 255
    assert clean_name(cleaned) == cleaned
    assert not {"/", "\\", "\x00", "\r", "\n"} & set(cleaned)
    cleaned.encode()


@pytest.mark.parametrize(
    ("given_type", "kept"),
    [
        (None, "application/octet-stream"),
        ("", "application/octet-stream"),
        ("Image/PNG", "image/png"),
        ("text/plain; charset=UTF-8", "text/plain; charset=UTF-8"),
        ('text/plain;charset="utf-8"', 'text/plain;charset="utf-8"'),
        ("application/vnd.oasis.opendocument.text", "application/vnd.oasis.opendocument.text"),
    ],
)
def test_media_types_that_are_taken(given_type: str | None, kept: str) -> None:
    assert clean_media_type(given_type, "mediaType") == kept


@pytest.mark.parametrize(
    "given_type",
    ["text", "text/", "/html", "text/html\r\nX: 1", "text/ht ml", "*/*", "a/b; c", "a/b, c/d", "é/b", "a/" + "b" * 300],
)
def test_media_types_that_are_refused(given_type: str) -> None:
    with pytest.raises(Invalid) as refused:
        clean_media_type(given_type, "mediaType")
    assert refused.value.field == "mediaType"


@pytest.mark.parametrize(
    ("media_type", "allowed", "taken"),
    [
        ("image/png", None, True),
        ("image/png", [], True),
        ("image/png", ["image/*"], True),
        ("image/png", ["image/png"], True),
        ("image/png; x=1", ["image/png"], True),
        ("image/png", ["image/p"], False),
        ("image/png", ["application/*"], False),
        ("imagex/png", ["image/*"], False),
        ("application/octet-stream", ["image/*"], False),
    ],
)
def test_types_a_bucket_takes(media_type: str, allowed: list[str] | None, taken: bool) -> None:
    assert is_allowed(media_type, allowed) is taken


@pytest.mark.parametrize(
    "media_type", ["text/html", "image/svg+xml", "application/xml", "text/xml", "application/xhtml+xml"]
)
def test_what_may_hold_scripts_is_never_harmless(media_type: str) -> None:
    assert not is_harmless(media_type)
    assert not is_harmless(f"{media_type}; charset=utf-8")


def test_the_key_of_a_bucket_fits_the_grammar_of_keys() -> None:
    assert (key_of("labels"), key_of("User-Avatars")) == ("labels", "user_avatars")
