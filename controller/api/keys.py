"""What a request carries on its way through the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from aiohttp import web

from controller.api.people import Who

WHO = web.RequestKey("who", Who)
# What a pod has cost, by its uid.
SPENT: web.RequestKey[Callable[[str], float]] = web.RequestKey("spent")
# Values that everybody may write into annotations that reach beyond a cell (see `restricted`).
ALLOWED = web.RequestKey("allowed", Mapping[str, Sequence[str]])
# Paths of fields that an object of the body has twice, as its reader has seen them.
DUPLICATES: web.RequestKey[tuple[str, ...]] = web.RequestKey("duplicates")
