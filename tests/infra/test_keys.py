"""Signing keys: where they come from, and that turning them keeps what was signed valid."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra import keys
from infra.failure import Misuse
from infra.settings import Settings


def test_the_file_is_made_once_for_its_owner_alone(tmp_path):
    first = keys.read_or_create(tmp_path)
    assert keys.read_or_create(tmp_path) == first
    assert [len(key.secret) for key in first] == [32]
    assert stat.S_IMODE((tmp_path / "secret.keys").stat().st_mode) == 0o600
    assert (tmp_path / "secret.keys").read_text() == f"{first[0].kid} {first[0].secret.hex()}\n"


def test_servers_that_start_together_agree(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: keys.read_or_create(tmp_path), range(64)))
    assert len(found) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["secret.keys"]


def test_rotation_puts_a_new_key_first_and_keeps_the_others(tmp_path):
    old = keys.read_or_create(tmp_path)
    new = keys.rotate(tmp_path)
    assert keys.read_or_create(tmp_path) == (new, *old)
    assert stat.S_IMODE((tmp_path / "secret.keys").stat().st_mode) == 0o600


def test_a_broken_file_is_named_and_left_as_it_is(tmp_path):
    (tmp_path / "secret.keys").write_text("only-a-name\n")
    with pytest.raises(Misuse, match=str(tmp_path / "secret.keys")):
        keys.read_or_create(tmp_path)
    assert (tmp_path / "secret.keys").read_text() == "only-a-name\n"


def test_a_ring_in_the_environment_keeps_its_order(tmp_path):
    found = Settings.from_env({"STOA_SECRET_KEY": f"new:{'ab' * 32},old:{'cd' * 40}", "STOA_DATA_DIR": str(tmp_path)})
    assert [(key.kid, key.secret) for key in found.with_keys().keys] == [
        ("new", bytes.fromhex("ab" * 32)),
        ("old", bytes.fromhex("cd" * 40)),
    ]
    assert list(tmp_path.iterdir()) == []


def test_any_long_text_is_a_key_with_a_name_that_does_not_tell_it():
    text = "a passphrase of more than thirty-two bytes: yes"
    (key,) = keys.parse(text)
    assert key.secret == text.encode()
    assert keys.parse(text) == (key,)
    assert len(key.kid) == 12
