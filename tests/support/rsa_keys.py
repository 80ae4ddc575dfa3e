"""An RSA key for the signatures of tests that ask nothing of the key itself: to make one takes longer than all else."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from hostkit import files


@cache
def key_of_this_process() -> rsa.RSAPrivateKey:
    """The same one for every test that this process runs; who must be a stranger to it makes another."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def give_identity_key(root: Path) -> None:
    """Have the local cloud of this folder find its key there, as at a second start."""
    path = root / "identity.key"
    if path.exists():
        return
    root.mkdir(parents=True, exist_ok=True, mode=0o711)
    pem = key_of_this_process().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    files.replace(path, pem)
