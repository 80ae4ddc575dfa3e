"""The machine's certificate authorities, read when somebody is first to be verified by them.

Reading them takes 40 ms of a processor, and aiohttp has a context with them made when it is imported, in processes too
that speak no TLS or trust others.
"""

from __future__ import annotations

import ssl
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast


class LateContext(ssl.SSLContext):
    """Context that lacks the machine's authorities. From its first connection on it has them, and is as any other."""

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """See ssl."""
        return self._whole().wrap_bio(*args, **options)

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """See ssl."""
        return self._whole().wrap_socket(*args, **options)

    def _whole(self) -> ssl.SSLContext:
        whole = cast("ssl.SSLContext", self)
        whole.__class__ = ssl.SSLContext
        whole.set_default_verify_paths()
        return whole


@contextmanager
def awaited() -> Generator[None]:
    """What makes a context with the machine's authorities meanwhile gets a `LateContext`."""

    def later(self: ssl.SSLContext) -> None:
        self.__class__ = LateContext

    # The C class below has it, and has it again afterwards.
    ssl.SSLContext.set_default_verify_paths = later
    try:
        yield
    finally:
        del ssl.SSLContext.set_default_verify_paths
