"""Which pod a cell is for, and what it asks of its instance."""

from __future__ import annotations

import msgspec

from controller.model.names import PodUid
from controller.model.offer import Demand


class PodRef(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at one pod: a kubelet that starts a sandbox anew raises `attempt`."""

    uid: PodUid
    namespace: str
    name: str
    attempt: int = 0


class PodClaim(msgspec.Struct, frozen=True, kw_only=True):
    """A pod's demand for a cell. Idempotent on (uid, attempt).

    `annotations` carry the `chinampa.dev/…` requirements; `labels` become tags of the instance. `by` is the room that
    claims, "room@worker" where that is in a worker's shim.
    `images` are those of its containers, where the room knows them; names only, nobody's credentials.
    """

    pod: PodRef
    demand: Demand
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    by: str = ""
    images: tuple[str, ...] = ()

    @property
    def worker(self) -> str:
        """The worker whose shim claims; "" where the controller itself does."""
        return self.by.partition("@")[2]
