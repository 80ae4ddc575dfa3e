"""Ends watches, logs and sessions when the right by which they were begun ends: they outlive the look at a token.

A token is over or revoked, its account or pod is deleted, its role is another: whatever it is, the token is not whose
it was when the request came. Short requests are mostly over before anybody looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

import structlog

from controller.api.people import Who

log = structlog.get_logger()
# For how long what is under way may outlive its right.
EVERY = 1.0


class Standing:
    """Requests under way, by their tokens. `who` says whose a token is now; `news` is set when a token was revoked."""

    def __init__(self, who: Callable[[str], Who | None], news: asyncio.Event) -> None:
        self._who = who
        self._news = news
        self._open: dict[asyncio.Task[object], tuple[str, Who]] = {}

    @contextmanager
    def doing(self, shown: str, who: Who) -> Generator[None]:
        """What is done inside, on showing this token, ends when it is not theirs any more."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is answered in a task")
        self._open[task] = shown, who
        try:
            yield
        finally:
            del self._open[task]

    async def keep(self) -> None:
        """Look every second and when there is news, for ever."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await self._news.wait()
            self._news.clear()
            for task, (shown, who) in tuple(self._open.items()):
                if self._who(shown) != who:
                    log.info("what somebody did is ended: their token does not hold any more", who=who.name)
                    task.cancel()
