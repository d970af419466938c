"""Envelope encryption: what goes in comes out, in its own place only."""

import itertools
import os
from dataclasses import replace

import pytest

from domain.kernel.secret import SecretText
from domain.secrets.ports import Sealed, Unreadable
from infra.keys import Key
from infra.secrets.cipher import AesGcmCipher

OLD, NEW = Key("old", os.urandom(32)), Key("new", os.urandom(32))
PLACE = b"here"


def cipher(*keys: Key) -> AesGcmCipher:
    return AesGcmCipher(lambda: keys)


def flipped(data: bytes, index: int) -> bytes:
    return data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]


@pytest.mark.parametrize("value", [b"", b"x", "schl\u00fcssel".encode(), os.urandom(64 * 1024)])
def test_a_value_comes_back(value):
    sealed = cipher(OLD).seal(value, PLACE)
    assert cipher(OLD).unseal(sealed, PLACE) == value
    assert len(value) < 8 or value not in sealed.ciphertext + sealed.wrapped_key


def test_the_same_value_never_looks_the_same():
    first, second = cipher(OLD).seal(b"value", PLACE), cipher(OLD).seal(b"value", PLACE)
    assert first.ciphertext != second.ciphertext
    assert first.wrapped_key != second.wrapped_key


def test_it_is_bound_to_its_place():
    sealed = cipher(OLD).seal(b"value", PLACE)
    with pytest.raises(Unreadable):
        cipher(OLD).unseal(sealed, b"elsewhere")
    with pytest.raises(Unreadable):
        cipher(NEW, OLD).rewrapped(sealed, b"elsewhere")


def test_no_byte_of_it_can_be_changed():
    sealed = cipher(OLD).seal(b"value", PLACE)
    changed = [replace(sealed, wrapped_key=flipped(sealed.wrapped_key, n)) for n in range(len(sealed.wrapped_key))]
    changed += [replace(sealed, ciphertext=flipped(sealed.ciphertext, n)) for n in range(len(sealed.ciphertext))]
    changed += [replace(sealed, ciphertext=b""), replace(sealed, wrapped_key=b"short")]
    for wrong in changed:
        with pytest.raises(Unreadable):
            cipher(OLD).unseal(wrong, PLACE)


def test_parts_of_two_values_do_not_go_together():
    one, two = cipher(OLD).seal(b"one", PLACE), cipher(OLD).seal(b"two", PLACE)
    with pytest.raises(Unreadable):
        cipher(OLD).unseal(Sealed("old", one.wrapped_key, two.ciphertext), PLACE)


def test_the_right_master_key_is_needed_by_its_name():
    sealed = cipher(OLD).seal(b"value", PLACE)
    with pytest.raises(Unreadable, match="no master key old"):
        cipher(NEW).unseal(sealed, PLACE)
    with pytest.raises(Unreadable):
        cipher(Key("old", NEW.secret)).unseal(sealed, PLACE)
    with pytest.raises(Unreadable):  # the same key under another name is another key
        cipher(Key("new", OLD.secret)).unseal(replace(sealed, key_id="new"), PLACE)


def test_wrapping_anew_leaves_the_value_alone():
    sealed = cipher(OLD).seal(b"value", PLACE)
    anew = cipher(NEW, OLD).rewrapped(sealed, PLACE)
    assert (anew.key_id, anew.ciphertext) == ("new", sealed.ciphertext)
    assert cipher(NEW).unseal(anew, PLACE) == b"value"


def test_a_key_proves_itself_and_no_other():
    proof = cipher(OLD).proof("old")
    assert cipher(NEW, OLD).proves("old", proof)
    assert not cipher(NEW).proves("old", proof)
    assert not cipher(Key("old", NEW.secret)).proves("old", proof)
    assert not cipher(Key("new", OLD.secret)).proves("new", proof)


def test_a_secret_shows_a_mask_wherever_it_is_printed():
    secret = SecretText("hunter2")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>10}", "%s" % secret, repr({"a": [secret]})]  # noqa: UP031
    assert [text for text in shown if "hunter2" in text] == []
    assert set(itertools.chain(*shown[:3])) == {"*"}
