"""What a pod's worker needs of the rest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from controller.fleet.cells import Cells
from controller.model.offer import Demand
from controller.objects.library import Library
from controller.objects.schema.pods import PodSpec
from controller.pods.delivery import ClusterIdentity
from controller.pods.events import Recorder
from controller.pods.log_files import Logs
from controller.pods.pod_records import PodRecords
from controller.pods.variables import VariableSources
from controller.sandboxes.owned import Supervisor
from controller.sandboxes.pulling import NOBODY, RegistryAccess
from controller.sandboxes.room import SandboxRoom


async def _nobody_says(_: Sequence[str]) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class ImageLookup:
    """What can be known of images before a cell has them: for which processors all of them are built (empty: unknown),
    and how registries are asked for what a pod may have. `patience` is how long, in seconds, a cell is kept for a pod
    of which an image cannot be pulled; 0 is for ever.
    """

    architectures: Callable[[Sequence[str]], Awaitable[tuple[str, ...]]] = _nobody_says
    access: RegistryAccess = NOBODY
    patience: float = 0.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """See the module. `room` is where the pods' sandboxes are."""

    cells: Cells
    room: SandboxRoom
    records: PodRecords
    recorder: Recorder
    logs: Logs
    supervisor: Supervisor
    demand: Callable[[PodSpec], Demand]
    images: ImageLookup
    library: Library
    identity: ClusterIdentity
    variables: VariableSources
    now: Callable[[], float]
