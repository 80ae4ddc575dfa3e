"""Which credentials go where, and what a registry's challenge asks for. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import urlsplit

import msgspec

from cellagent.images.messages import Credentials
from cellagent.images.reference import DEFAULT_REGISTRY
from cellwire.faults import Fault, Kind

DOCKER_HOST = "registry-1.docker.io"
# A scheme stands at the beginning or after a comma, and before a blank or the end; a parameter before "=".
_SCHEME = re.compile(r"(?:^|,)\s*(?P<scheme>[A-Za-z][A-Za-z0-9-]*)(?=\s*$|\s*,|\s+[^\s=])")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """One WWW-Authenticate header: `scheme` is "bearer", "basic" or another in lower case."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


class Basic(msgspec.Struct, frozen=True):
    """A user and a password."""

    username: str
    password: str

    @property
    def header(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    def __repr__(self) -> str:
        return "Basic(…)"


def challenges_of(header: str) -> list[Challenge]:
    """What a WWW-Authenticate header asks for: one or several schemes, as RFC 9110 lets them stand in one header."""
    found: list[Challenge] = []
    starts = list(_SCHEME.finditer(_QUOTED.sub(lambda quoted: "x" * len(quoted[0]), header)))
    for number, match in enumerate(starts):
        end = starts[number + 1].start() if number + 1 < len(starts) else len(header)
        rest = header[match.end() : end]
        said = {
            name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain for name, quoted, plain in _PARAMETER.findall(rest)
        }
        found.append(
            Challenge(
                scheme=match["scheme"].lower(),
                realm=said.get("realm", ""),
                service=said.get("service", ""),
                scope=said.get("scope", ""),
            )
        )
    return found


def for_host(credentials: Credentials, host: str, *, named_only: bool) -> Credentials:
    """The credentials to use with `host`: none where they were made out to another; with `named_only`, as for whom a
    registry redirects to, none that name no host either.
    """
    server = _host_of(credentials.server_address)
    if not server:
        return Credentials() if named_only else credentials
    return credentials if server == _host_of(host) else Credentials()


def basic_of(credentials: Credentials, thing: str) -> Basic | None:
    """User and password, if there are any."""
    if credentials.username:
        return Basic(credentials.username, credentials.password)
    if not credentials.auth:
        return None
    try:
        text = base64.b64decode(credentials.auth, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Fault(
            Kind.INVALID, thing, "the credentials' auth field is not base64 of user:password", "correct the pull secret"
        ) from error
    username, colon, password = text.partition(":")
    if not colon:
        raise Fault(Kind.INVALID, thing, "the credentials' auth field holds no colon", "correct the pull secret")
    return Basic(username, password.rstrip("\0"))


def may_send_to(realm: str, *, registry_is_plain: bool) -> bool:
    """Whether a token may be asked for at `realm`: never over plain http for a registry that speaks https."""
    scheme = urlsplit(realm).scheme
    return scheme == "https" or (scheme == "http" and registry_is_plain)


def _host_of(address: str) -> str:
    host = (urlsplit(address).netloc if "://" in address else address.partition("/")[0]).lower()
    return DEFAULT_REGISTRY if host in {DOCKER_HOST, "index.docker.io", "registry.docker.io"} else host
