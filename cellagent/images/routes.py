"""How an address is reached: whose certificates are trusted there, which one we show, through which proxy."""

from __future__ import annotations

import os
import ssl
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from cellagent.images.messages import RegistrySettings
from cellwire.faults import Fault, Kind
from cellwire.proxies import Proxies

PEM_LIMIT = 1 << 20


class SentBlob(NamedTuple):
    """With what a request is sent: TLS as the settings want it, and the address of a proxy if there is one."""

    tls: ssl.SSLContext | Literal[True]
    """True for aiohttp's own context, which trusts the machine's authorities."""
    proxy: str | None


class HttpRoutes:
    """The ways to one registry and what it leads to. Trusted are the machine's authorities and those of settings."""

    def __init__(self, settings: RegistrySettings, others: Sequence[RegistrySettings], proxies: Proxies) -> None:
        self._settings = settings
        self._others = {each.host: each for each in others}
        self._proxies = proxies
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}

    def to(self, address: str, *, own: bool) -> SentBlob:
        """For an address of the registry itself or of a mirror of it (`own`), or one that it leads to.

        Settings of that very host go before those of the registry; whom a registry leads to sees no certificate of ours
        that was meant for the registry. Raises Fault INVALID for settings that are no certificates.
        """
        host = urlsplit(address).netloc
        special = self._others.get(host)
        settings, shown = (special, True) if special is not None and special.has_tls else (self._settings, own)
        proxy = self._proxies.to(address) or None
        if not settings.has_tls:
            return SentBlob(tls=True, proxy=proxy)
        key = (settings.host, shown)
        if key not in self._contexts:
            self._contexts[key] = context(settings, shown=shown)
        return SentBlob(self._contexts[key], proxy)


def context(settings: RegistrySettings, *, shown: bool = True) -> ssl.SSLContext:
    """TLS as these settings say; with our certificate where it is `shown`. Raises Fault INVALID."""
    made = ssl.create_default_context()
    thing = f"registry {settings.host}"
    if settings.ca:
        try:
            made.load_verify_locations(cadata=settings.ca)
        except (ssl.SSLError, ValueError) as error:
            cause = f"its certificate authority cannot be read ({_word(error)})"
            raise Fault(Kind.INVALID, thing, cause, "name a file of PEM certificates") from error
    if settings.certificate and shown:
        with _file_of(settings.certificate + "\n" + settings.key) as path:
            try:
                made.load_cert_chain(path)
            except (ssl.SSLError, ValueError) as error:
                cause = f"the certificate or key to show to it cannot be read ({_word(error)})"
                raise Fault(Kind.INVALID, thing, cause, "name files of PEM, the key without a password") from error
    return made


def of_folder(folder: Path) -> tuple[RegistrySettings, ...]:
    """Settings from a folder for each host, as other runtimes have them: ca.crt (any *.crt), client.cert, client.key.

    Raises Fault INVALID for a file that cannot be read or is none; no folder is no setting.
    """
    found: list[RegistrySettings] = []
    try:
        hosts = sorted(folder.iterdir())
        for host in hosts:
            ca = "\n".join(_text(path) for path in sorted(host.glob("*.crt")))
            pair = [_text(host / name) if (host / name).exists() else "" for name in ("client.cert", "client.key")]
            found.append(RegistrySettings(host=host.name, ca=ca, certificate=pair[0], key=pair[1]))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise Fault(Kind.INVALID, f"certificates in {folder}", str(error)) from error
    for settings in found:
        context(settings)
    return tuple(found)


@contextmanager
def _file_of(text: str) -> Generator[str]:
    """A file in memory: OpenSSL reads keys from paths only."""
    descriptor = os.memfd_create("key", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(PEM_LIMIT).decode(errors="replace")


def _word(error: Exception) -> str:
    return (error.reason if isinstance(error, ssl.SSLError) else "") or str(error)
