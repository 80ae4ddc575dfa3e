"""Answers of a registry, and failures of the network: a good answer, a failure that may pass, or a Fault.

A fault tells the registry's own words. It names a mend only where the answer leaves no doubt which.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any, cast

import aiohttp
import msgspec

from cellwire.faults import Fault, Kind
from cellwire.reachable import NotAllowedError

ATTEMPTS = 5
# A person is told within 5 s of asking of what cannot be had, and their pod is tried again after that: for so long all
# addresses of a registry are tried together, the start of the pull with it; and for so long where that was slow.
TRIED_SECONDS, LEAST_TRIED = 4.0, 2.0
# Of name, connection and TLS, however little of that is left.
LEAST_SECONDS = 0.25
# Of an address to which no connection comes about at all within its share of that time.
ATTEMPTS_IN_SILENCE = 1
# Who is asked to wait for longer is told instead.
LONGEST_ASKED = 60.0
FIRST_PAUSE = 0.2
# Of a connection on which an answer is awaited or under way.
SILENCE_SECONDS = 30.0
WORDS_LIMIT = 4000
WORDS_SHOWN = 300


class Transient(Exception):
    """A failure that may pass by itself.

    `pause` is how long, in seconds, the registry asked us to wait, if it did; `attempts` how often in a row this kind
    is tried; `reason` a word for machines.
    """

    def __init__(self, cause: str, pause: float = 0.0, *, attempts: int = ATTEMPTS, reason: str = "") -> None:
        super().__init__(cause)
        self.pause = pause
        self.attempts = attempts
        self.reason = reason or "RegistryUnavailable"


class RetryBudget:
    """How long one request is tried, at so many addresses one after another: each has an equal share of what is left.

    What a registry asks us to wait does not count; what has passed since somebody asked does. Times come in, as seconds
    of one clock.
    """

    def __init__(self, addresses: int, now: float, asked_at: float | None = None) -> None:
        self._ends = now + TRIED_SECONDS if asked_at is None else max(asked_at + TRIED_SECONDS, now + LEAST_TRIED)
        self._addresses = addresses
        self.turn(now)

    def turn(self, now: float) -> None:
        """The next address is tried from now on."""
        self._until = now + max(self._ends - now, LEAST_SECONDS) / max(self._addresses, 1)
        self._addresses -= 1

    def connecting(self, now: float) -> float:
        """Seconds for a connection."""
        return max(self._until - now, LEAST_SECONDS)

    def is_over(self, now: float) -> bool:
        """Whether this address has had its share."""
        return now >= self._until

    def pause(self, failures: int, asked: float, jitter: float, now: float) -> float:
        """Seconds before the next try: what was asked for, or a back-off, no longer than the share."""
        if asked:
            self._ends, self._until = self._ends + asked, self._until + asked
            return asked
        return min(FIRST_PAUSE * 2.0 ** (failures - 1) * jitter, max(self._until - now, 0.0))


def limits(connecting: float) -> aiohttp.ClientTimeout:
    """Of one request, whose connection may take so many seconds."""
    return aiohttp.ClientTimeout(total=None, connect=connecting, sock_read=SILENCE_SECONDS)


async def judge(answer: aiohttp.ClientResponse, who: str, thing: str, missing: str) -> None:
    """Nothing for a good answer; else Transient or the Fault that tells what it means.

    `who` answered; `missing` is what a 404 says is not there. Who is refused is told by `logins`.
    """
    status = answer.status
    if status in {200, 206}:
        return
    said = await words(answer)
    if status >= 500 or status in {408, 416, 429}:
        pause = seconds_asked(answer.headers.get("Retry-After", ""), time.time())
        attempts = 1 if pause > LONGEST_ASKED else ATTEMPTS
        wait = f", and asks to wait for {pause:.0f} s" if pause else ""
        if status == 429:
            raise Transient(
                f"it limits the rate of pulls (429){said}{wait}", pause, attempts=attempts, reason="RateLimited"
            )
        raise Transient(f"it answered {status}{said}{wait}", pause, attempts=attempts)
    if status == 404:
        raise Fault(Kind.NOT_FOUND, thing, f"{who} has {missing}{said}", "check the name and tag", reason="NotFound")
    raise Fault(Kind.BROKEN, thing, f"{who} answered {status}{said}")


async def read(answer: aiohttp.ClientResponse, limit: int, thing: str) -> bytes:
    """The whole body. Raises Fault where it has more than `limit` bytes."""
    content = bytearray()
    async for chunk in answer.content.iter_any():
        content += chunk
        if len(content) > limit:
            raise Fault(Kind.BROKEN, thing, f"the registry's answer is larger than {limit} bytes")
    return bytes(content)


async def words(answer: aiohttp.ClientResponse) -> str:
    """The registry's own words in an error's body, in brackets and safe to show; "" where there are none."""
    body = bytearray()
    while len(body) < WORDS_LIMIT and (chunk := await answer.content.read(WORDS_LIMIT - len(body))):
        body += chunk
    return shown(bytes(body))


def shown(body: bytes) -> str:
    """As `words`. Pure: the distribution specification's list of errors, what token servers write, or plain text."""
    try:
        text = "; ".join(_told(msgspec.json.decode(body)))
    except (msgspec.DecodeError, ValueError, RecursionError):
        text = ""
    text = text or body.decode("utf-8", "replace")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:WORDS_SHOWN]
    return f" ({text})" if text and not text.startswith("<") else ""


def _told(value: object) -> list[str]:
    if not isinstance(value, dict):
        return []
    found = cast("dict[str, Any]", value)
    errors = cast("list[Any]", found["errors"]) if isinstance(found.get("errors"), list) else [found]
    told: list[str] = []
    for error in errors[:5]:
        if isinstance(error, dict):
            said = cast("dict[str, Any]", error)
            parts = [said.get(key) for key in ("code", "error", "message", "details", "error_description")]
            told.append(": ".join(dict.fromkeys(part for part in parts if isinstance(part, str) and part)))
    return [each for each in told if each]


def seconds_asked(text: str, now: float) -> float:
    """What Retry-After says, in seconds from `now` (unix): a number or a date; 0 for neither. Pure."""
    if text.isascii() and text.strip().isdecimal():
        return float(text.strip()[:9])
    try:
        return max(parsedate_to_datetime(text).timestamp() - now, 0.0)
    except (ValueError, OverflowError, OSError):
        return 0.0


@asynccontextmanager
async def network_faults(thing: str, host: str, it: str, connecting: float) -> AsyncGenerator[None]:
    """What the network does to us on the way to `host`, in short `it`: Transient, or Fault if the same would come.

    `connecting` is how long, in seconds, a connection was waited for.
    """
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise _untrusted(thing, host, error) from error
    except (aiohttp.ClientSSLError, ssl.SSLError) as error:
        raise Transient(f"TLS with {it} failed ({_tls_words(error)})", attempts=2) from error
    except aiohttp.ClientHttpProxyError as error:
        raise Transient(
            f"the proxy on the way to {it} answered {error.status} {error.message}".rstrip(), attempts=2
        ) from error
    except aiohttp.ClientProxyConnectionError as error:
        raise Transient(f"the proxy {error.host}:{error.port} on the way to {it} cannot be reached") from error
    except (NotAllowedError, aiohttp.ClientConnectorError) as error:
        raise _unreached(thing, it, error) from error
    except aiohttp.ConnectionTimeoutError as error:
        cause = f"{it} cannot be reached (no connection within {connecting:.1f} s)"
        raise Transient(cause, attempts=ATTEMPTS_IN_SILENCE) from error
    except (aiohttp.ServerTimeoutError, TimeoutError) as error:
        raise Transient(f"{it} was silent for too long") from error
    except (aiohttp.ClientError, OSError) as error:
        if tls := _tls_words(error):
            raise Transient(f"TLS with {it} failed ({tls})", attempts=2) from error
        raise Transient(f"the connection to {it} broke ({type(error).__name__})") from error


def _unreached(thing: str, it: str, error: NotAllowedError | aiohttp.ClientConnectorError) -> Fault | Transient:
    cause = error if isinstance(error, NotAllowedError) else error.os_error
    if isinstance(cause, NotAllowedError):
        return Fault(Kind.DENIED, thing, f"{it} is not asked from here: {cause}", reason="NotAllowed")
    return Transient(f"{it} cannot be reached ({error.strerror or cause})")


def _untrusted(thing: str, host: str, error: Exception) -> Fault:
    verifying = _within(error, ssl.SSLCertVerificationError)
    cause = getattr(verifying, "verify_message", "") or str(verifying or error)
    return Fault(
        Kind.DENIED,
        thing,
        f"{host} shows a certificate that is not trusted ({cause})",
        "where an authority of your own signed it, name that in the settings of this registry (ca)",
        reason="CertificateNotTrusted",
    )


def _tls_words(error: BaseException) -> str:
    """What OpenSSL calls it; "" where TLS is not the matter."""
    found = _within(error, ssl.SSLError)
    reason = getattr(found, "reason", "") or ""
    if reason == "WRONG_VERSION_NUMBER":
        return "it does not speak TLS; for plain http, say so in the settings"
    return reason.replace("_", " ").lower() or ("it does not speak it properly" if found else "")


def _within(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """The library's own error in one of aiohttp's."""
    seen: BaseException | None = error
    best: BaseException | None = None
    while seen is not None:
        if isinstance(seen, kind):
            best = seen
        inner = getattr(seen, "certificate_error", None) or getattr(seen, "os_error", None)
        seen = inner if isinstance(inner, BaseException) and inner is not seen else seen.__cause__
    return best
