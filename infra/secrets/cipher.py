"""AES-256-GCM, twice: a random data key encrypts a value, a master key encrypts the data key.

Both are bound to the value's place; the wrapped key to its master key's id as well. A nonce is 12 random bytes, put
before what it was used for. A master key may wrap some four thousand million data keys before two nonces are likely
to meet (NIST SP 800-38D, section 8.3).
"""

import os
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.secrets.ports import Sealed, Unreadable
from infra.keys import Key

KEY_BYTES = 32
NONCE_BYTES = 12

_VALUE = b"stoa secret\0"
_DATA_KEY = b"stoa data key\0"
_PROOF = b"stoa master key\0"


class AesGcmCipher:
    """See `domain.secrets.ports.Cipher`. `ring` gives the master keys there are at the moment."""

    def __init__(self, ring: Callable[[], Sequence[Key]]) -> None:
        self._ring = ring

    def key_ids(self) -> tuple[str, ...]:
        """The master keys at hand."""
        return tuple(key.kid for key in self._ring())

    def seal(self, value: bytes, place: bytes) -> Sealed:
        """`value` under a data key of its own, that one under the first master key."""
        data_key = os.urandom(KEY_BYTES)
        return self._wrapped(data_key, _encrypted(data_key, value, _VALUE + place), place)

    def unseal(self, sealed: Sealed, place: bytes) -> bytes:
        """The value."""
        return _decrypted(self._data_key(sealed, place), sealed.ciphertext, _VALUE + place)

    def rewrapped(self, sealed: Sealed, place: bytes) -> Sealed:
        """The same ciphertext, its data key under the first master key."""
        return self._wrapped(self._data_key(sealed, place), sealed.ciphertext, place)

    def proof(self, key_id: str) -> bytes:
        """An empty text encrypted with the master key."""
        return _encrypted(self._master_key(key_id), b"", _bound(_PROOF, key_id))

    def proves(self, key_id: str, proof: bytes) -> bool:
        """Whether the proof can be decrypted."""
        try:
            return _decrypted(self._master_key(key_id), proof, _bound(_PROOF, key_id)) == b""
        except Unreadable:
            return False

    def _wrapped(self, data_key: bytes, ciphertext: bytes, place: bytes) -> Sealed:
        first = self._ring()[0]
        return Sealed(first.kid, _encrypted(first.secret, data_key, _bound(_DATA_KEY, first.kid) + place), ciphertext)

    def _data_key(self, sealed: Sealed, place: bytes) -> bytes:
        master_key = self._master_key(sealed.key_id)
        return _decrypted(master_key, sealed.wrapped_key, _bound(_DATA_KEY, sealed.key_id) + place)

    def _master_key(self, key_id: str) -> bytes:
        for key in self._ring():
            if key.kid == key_id:
                return key.secret
        raise Unreadable(f"there is no master key {key_id}")


def _bound(what: bytes, key_id: str) -> bytes:
    return what + key_id.encode() + b"\0"


def _encrypted(key: bytes, value: bytes, bound_to: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, value, bound_to)


def _decrypted(key: bytes, stored: bytes, bound_to: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(stored[:NONCE_BYTES], stored[NONCE_BYTES:], bound_to)
    except (InvalidTag, ValueError):
        raise Unreadable("not what was encrypted here") from None
