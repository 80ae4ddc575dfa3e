"""Who copies logs from cells and who counts sessions with them, for all rooms that have some: measured together."""

from __future__ import annotations

from dataclasses import dataclass, field

from cellwire.stream.counted import Sessions
from controller.logs.mirror import Mirror


@dataclass(frozen=True, slots=True)
class Streams:
    """One for the daemon."""

    sessions: Sessions = field(default_factory=Sessions)
    mirror: Mirror = field(default_factory=Mirror)
    log_bytes: int = 0
    """What is kept of a container's logs where no kubelet rotates them; 0: all."""
