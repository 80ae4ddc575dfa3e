"""How cells reach image registries, read from the settings: files of certificates are read and checked here."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path

import msgspec

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from cellwire.proxies import Proxies, checked
from controller.clouds.settings import Proxy, Registry


class RegistryFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How cells reach an image registry. `ca`, `certificate` and `key` are PEM."""

    host: str
    mirrors: tuple[str, ...] = ()
    plain_http: bool = False
    ca: str = ""
    certificate: str = ""
    key: str = ""
    mirror_logins: bool = False

    def __repr__(self) -> str:
        return f"RegistryFacts(host={self.host!r}, …)"

    @property
    def message(self) -> wire.Registry:
        """As a cell is told."""
        return wire.Registry(
            host=self.host,
            mirrors=self.mirrors,
            plain_http=self.plain_http,
            ca=self.ca,
            certificate=self.certificate,
            key=self.key,
            mirror_logins=self.mirror_logins,
        )


def facts(registries: Iterable[Registry]) -> tuple[RegistryFacts, ...]:
    """What cells are told of these registries. Raises Fault INVALID for files that are no certificates."""
    found: list[RegistryFacts] = []
    for each in registries:
        if each.ca or each.certificate or each.key:
            context(each)
        found.append(
            RegistryFacts(
                host=each.host,
                mirrors=each.mirrors,
                plain_http=each.plain_http,
                ca=_text(each.host, each.ca),
                certificate=_text(each.host, each.certificate),
                key=_text(each.host, each.key),
                mirror_logins=each.mirror_logins,
            )
        )
    return tuple(found)


def context(settings: Registry) -> ssl.SSLContext:
    """TLS with this registry. Raises Fault INVALID."""
    made = ssl.create_default_context()
    thing = f"registries of {settings.host}"
    if (settings.certificate is None) != (settings.key is None):
        raise Fault(Kind.INVALID, thing, "a certificate and its key are set together or not at all")
    try:
        if settings.ca is not None:
            made.load_verify_locations(settings.ca)
        if settings.certificate is not None:
            made.load_cert_chain(settings.certificate, settings.key, password="")
    except (OSError, ValueError) as error:
        cause = f"a file of certificates or keys cannot be read ({error})"
        raise Fault(Kind.INVALID, thing, cause, "name files of PEM, the key without a password") from error
    return made


def proxies(settings: Proxy) -> Proxies:
    """The proxies of the settings. Raises Fault INVALID."""
    return Proxies(
        http=checked(settings.http, "proxy.http"),
        https=checked(settings.https, "proxy.https"),
        exempt=settings.no_proxy,
    )


def _text(host: str, path: Path | None) -> str:
    try:
        return path.read_text() if path is not None else ""
    except (OSError, ValueError) as error:
        raise Fault(Kind.INVALID, f"registries of {host}", str(error)) from error
