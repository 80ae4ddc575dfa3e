"""Tokens of service accounts: JSON Web Tokens that this API itself signs and reads (HMAC-SHA-256)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import msgspec

ISSUER = "https://kubernetes.default.svc"
AUDIENCE = ISSUER
_HEADER = {"alg": "HS256", "typ": "JWT"}


class Bearer(msgspec.Struct, frozen=True):
    """Bearer of a token: a service account, and the pod for which it was made, if any."""

    namespace: str
    account: str
    uid: str = ""
    pod: str = ""
    pod_uid: str = ""
    audience: str = AUDIENCE
    expires: float = 0.0

    @property
    def user(self) -> str:
        """The account as a user of the API."""
        return f"system:serviceaccount:{self.namespace}:{self.account}"


class Tokens:
    """Makes and reads tokens with one key."""

    def __init__(self, key: bytes, now: Callable[[], float]) -> None:
        self._key = key
        self.now = now

    def issue(self, bearer: Bearer, seconds: int) -> str:
        """A token that holds for so many seconds."""
        now = int(self.now())
        own: dict[str, Any] = {
            "namespace": bearer.namespace,
            "serviceaccount": {"name": bearer.account, "uid": bearer.uid},
        }
        if bearer.pod:
            own["pod"] = {"name": bearer.pod, "uid": bearer.pod_uid}
        claims = {
            "iss": ISSUER,
            "sub": bearer.user,
            "aud": [bearer.audience],
            "iat": now,
            "nbf": now,
            "exp": now + seconds,
            "kubernetes.io": own,
        }
        signed = f"{_encoded(_HEADER)}.{_encoded(claims)}"
        return f"{signed}.{_text(self._signature(signed))}"

    def read(self, token: str) -> Bearer | None:
        """Whose the token is; None for one that is not ours, or is over."""
        signed, _, signature = token.rpartition(".")
        try:
            if not hmac.compare_digest(_bytes(signature), self._signature(signed)):
                return None
            claims = json.loads(_bytes(signed.partition(".")[2]))
            own = claims["kubernetes.io"]
            if claims["exp"] < self.now():
                return None
            pod = own.get("pod") or {}
            account = own["serviceaccount"]
            return Bearer(
                namespace=own["namespace"],
                account=account["name"],
                uid=account["uid"],
                pod=pod.get("name", ""),
                pod_uid=pod.get("uid", ""),
                audience=claims["aud"][0],
                expires=float(claims["exp"]),
            )
        except (ValueError, KeyError, TypeError, IndexError):
            return None

    def _signature(self, signed: str) -> bytes:
        return hmac.digest(self._key, signed.encode(), hashlib.sha256)


def _encoded(value: object) -> str:
    return _text(json.dumps(value, separators=(",", ":")).encode())


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
