"""Keeps pytest-asyncio from leaving an event loop behind."""

from __future__ import annotations

import asyncio

# Before the first asynchronous test the plugin asks for "the current loop", which makes one that nobody closes; the
# garbage collector then fails whichever test is running. Where it is said that there is none, none is made.
asyncio.set_event_loop(None)
