"""What the vault needs of the outside: keys, and what they do."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Sealed:
    """A value encrypted with a key of its own, and that key encrypted with the master key `key_id`."""

    key_id: str
    wrapped_key: bytes
    ciphertext: bytes


class Unreadable(Exception):
    """What was to be decrypted is not what was encrypted for this place, or its key is not among ours."""


class Cipher(Protocol):
    """Envelope encryption. A value is bound to its place: moved to another one it cannot be read.

    Each value has a data key of its own. So no key ever encrypts two values, turning the master key re-wraps 32 bytes
    a value and leaves the values alone, and a row that is deleted takes its key along.
    """

    def key_ids(self) -> tuple[str, ...]:
        """The master keys at hand. The first one wraps, all of them unwrap."""
        ...

    def seal(self, value: bytes, place: bytes) -> Sealed:
        """`value`, encrypted for `place`."""
        ...

    def unseal(self, sealed: Sealed, place: bytes) -> bytes:
        """The value. Raises Unreadable."""
        ...

    def rewrapped(self, sealed: Sealed, place: bytes) -> Sealed:
        """The same value under the first master key. Raises Unreadable."""
        ...

    def proof(self, key_id: str) -> bytes:
        """What only this master key makes, to know it again by. Raises Unreadable for a key that isn't at hand."""
        ...

    def proves(self, key_id: str, proof: bytes) -> bool:
        """Whether the master key of that id is the one that made the proof."""
        ...
