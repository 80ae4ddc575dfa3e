"""Settings of the fleet and of warm cells."""

from __future__ import annotations

import enum
from typing import Annotated

from msgspec import Meta

from controller.fleet.plan import FleetLimits
from controller.model.setting import Group, Seconds


class RebalanceAction(enum.StrEnum):
    """What a rebalance recommendation leads to."""

    TELL = "tell"
    INTERRUPT = "interrupt"


class FleetOptions(Group, frozen=True, kw_only=True):
    """How cells are launched, watched and collected."""

    lease: Annotated[
        Seconds, Meta(description="A cell that is silent for so long is lost; longer where heartbeats are rarer.")
    ] = 30.0
    heartbeat: Annotated[
        Seconds,
        Meta(
            description="How often a cell says that it is alive, where there are few: "
            "all together 400 times a second, each at least every 30 s."
        ),
    ] = 5.0
    boot: Annotated[Seconds, Meta(description="An instance that has not dialled by then is given up.")] = 300.0
    launch: Annotated[Seconds, Meta(description="A launch without an answer by then is given up.")] = 600.0
    unclaimed: Annotated[
        Seconds, Meta(description="A cell made for a pod that nobody has asked for again for so long is retired.")
    ] = 300.0
    homeless: Annotated[
        float,
        Meta(
            ge=0,
            le=100_000,
            description="A cell without a controller for so long powers its machine off, its pod included; 0: never.",
            extra={"unit": "hours"},
        ),
    ] = 24.0
    log_grace: Annotated[
        Seconds,
        Meta(
            description="How long a cell whose pod has ended is kept for the last bytes of its logs; a kubelet waits no"
            " longer than 120 s for a stop in which that happens."
        ),
    ] = 60.0
    survey: Annotated[Seconds, Meta(description="How often the cloud's instances are listed.")] = 10.0
    maintenance_lead: Annotated[
        Seconds, Meta(description="How long before maintenance that ends its instance a pod is told to end.")
    ] = 600.0
    rebalance: Annotated[
        RebalanceAction,
        Meta(
            description='What a rebalance recommendation of EC2 leads to: "tell" says so on the pod and in the log; '
            '"interrupt" moves the pod as if its instance were taken.',
        ),
    ] = RebalanceAction.TELL
    standby_max_usd_hour: Annotated[
        float,
        Meta(ge=0, description="What all warm cells may cost together; 0: no bound.", extra={"unit": "USD per hour"}),
    ] = 0.0
    standby_max_waste: Annotated[
        float,
        Meta(ge=1, description="A pod takes a warm cell that costs at most so many times as much as a fresh one."),
    ] = 2.0
    orphan_grace: Annotated[
        Seconds, Meta(description="An instance of ours that no record knows is ended after so long, and two lists.")
    ] = 30.0
    worker_lease: Annotated[
        float,
        Meta(
            ge=0,
            description="Cells of a worker (`chinampa shim`) that is silent for so long are retired; 0: never.",
            extra={"unit": "seconds"},
        ),
    ] = 3600.0


class OverheadOptions(Group, frozen=True, kw_only=True):
    """What the agent takes of an instance, beside the pod."""

    cpu: Annotated[int, Meta(ge=0, description="CPU.", extra={"unit": "thousandths of a CPU"})] = 0
    memory: Annotated[int, Meta(ge=0, description="Memory.", extra={"unit": "MiB"})] = 96


class StandbyTable(Group, frozen=True, kw_only=True):
    """Warm cells, kept ready for pods of about this size. A table each. See docs/pool.md."""

    name: Annotated[
        str, Meta(description="Its name in metrics. Unset: from its place.", pattern="^[a-z0-9-]{0,40}$")
    ] = ""
    count: Annotated[int, Meta(ge=0, description="How many to keep, at least.")] = 0
    most: Annotated[
        int, Meta(ge=0, description="Up to how many to keep, as pods come. Not above `count`: a fixed number.")
    ] = 0
    target_hit: Annotated[
        float, Meta(gt=0, lt=1, description="Share of the pods that are to find one ready, where the number adapts.")
    ] = 0.95
    max_age: Annotated[Seconds, Meta(description="One that waited for so long is replaced.")] = 86400.0
    cpu: Annotated[str, Meta(description='CPU that a pod may ask of them, as in Kubernetes ("500m").')]
    memory: Annotated[str, Meta(description='Memory that a pod may ask of them, as in Kubernetes ("256Mi").')]
    gpus: Annotated[int, Meta(ge=0, description="GPUs that a pod may ask of them.")] = 0
    disk: Annotated[
        str, Meta(description='Disk that a pod may ask of them, as in Kubernetes ("20Gi"). Empty: what all have.')
    ] = ""
    annotations: Annotated[
        tuple[str, ...],
        Meta(description='What such pods have as chinampa.dev/ annotations: "launch-type=spot", "gpu-name=t4".'),
    ] = ()
    images: Annotated[tuple[str, ...], Meta(description="Images that are pulled while they wait.")] = ()
    forecast_images: Annotated[
        bool, Meta(description="Whether those that many of the latest such pods had are pulled as well.")
    ] = True


def limits(fleet: FleetOptions) -> FleetLimits:
    """The plan's limits as the settings say."""
    return FleetLimits(
        lease=fleet.lease,
        heartbeat=fleet.heartbeat,
        boot=fleet.boot,
        launch=fleet.launch,
        unclaimed=fleet.unclaimed,
        grace=fleet.orphan_grace,
        maintenance_lead=fleet.maintenance_lead,
        rebalance_ends=fleet.rebalance is RebalanceAction.INTERRUPT,
    )
