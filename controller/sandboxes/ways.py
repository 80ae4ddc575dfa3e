"""What the rooms that run pods on cells have in common: one for the daemon, measured as one."""

from __future__ import annotations

from dataclasses import dataclass, field

from cellwire.stream.counted import Sessions
from controller.logs.mirror import Mirror
from controller.sandboxes.carried import Carrier
from controller.sandboxes.owned import Supervisor


@dataclass(frozen=True, slots=True)
class Ways:
    """The carrier of records, the copier of logs and the counter of sessions, for all rooms that run pods on cells,
    and who looks after the work for each.
    """

    carrier: Carrier
    sessions: Sessions = field(default_factory=Sessions)
    mirror: Mirror = field(default_factory=Mirror)
    supervisor: Supervisor = field(default_factory=Supervisor)
    log_bytes: int = 0
    """What is kept of a container's logs where no kubelet rotates them; 0: all."""
    log_grace: float = 60.0
    """How long a cell is kept for the last bytes of its logs, in seconds. A cell that has lost its connection dials
    again within half of that; and a kubelet waits two minutes for the answer to its stop, of which the stop takes some.
    """
