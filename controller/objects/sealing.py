"""Seals what is secret before it is stored: AES-GCM with a key that the controller's authority derives.

What is sealed for one name cannot be opened under another.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cellwire.faults import Fault, Kind

_NONCE = 12


class Sealing:
    """Seals and opens with one key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def sealed(self, value: bytes, name: str) -> bytes:
        """The value as it may be stored under this name."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, value, name.encode())

    def opened(self, value: bytes, name: str) -> bytes:
        """What was sealed. Raises Fault BROKEN for what was not sealed by this key for this name."""
        try:
            return self._cipher.decrypt(value[:_NONCE], value[_NONCE:], name.encode())
        except (InvalidTag, ValueError) as error:
            mend = "restore the authority's key (ca.key) that sealed it"
            raise Fault(Kind.BROKEN, f"secret {name}", "it was sealed by another key", mend) from error
