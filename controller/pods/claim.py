"""What a pod's present attempt asks of the fleet. Pure."""

from __future__ import annotations

from controller.choice.wishes import PREFIX
from controller.model.names import PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from controller.objects.fields import Json
from controller.pods import lifecycle
from controller.pods.records import SHOWN


def claim_of(pod: Json, attempt: int, demand: Demand) -> PodClaim:
    """The claim of one attempt at a pod, whose spec has this demand."""
    metadata: Json = pod["metadata"]
    annotations: dict[str, str] = metadata.get("annotations") or {}
    return PodClaim(
        pod=PodRef(
            uid=PodUid(metadata["uid"]), namespace=metadata["namespace"], name=metadata["name"], attempt=attempt
        ),
        demand=demand,
        labels=metadata.get("labels") or {},
        annotations={
            name: value for name, value in annotations.items() if name.startswith(PREFIX) and name not in SHOWN
        },
        images=tuple(dict.fromkeys(container["image"] for container, _ in lifecycle.containers_of(pod["spec"]))),
    )
