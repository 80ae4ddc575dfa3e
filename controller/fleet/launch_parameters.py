"""Parameters of a launch: tokens, tags, the order of offers. Pure.

A join token is derived from a secret and the group in the client token, so that a launch that is repeated after a crash
is the same to the letter, and cells launched within some seconds have the same user-data and can be launched by one
call, from one template. Only its hash is stored.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from controller.choice.requirements import PREFIX, Requirements
from controller.choice.unavailable import Key, Unavailable, marked
from controller.clouds.protocol import LaunchOutcome, LaunchRequest, Unfulfilled
from controller.clouds.userdata import UserData, render
from controller.model.cell import Cell
from controller.model.instance import Instance
from controller.model.offer import Offer

# EC2 takes 50 tags an instance; ours and a cloud's own need some.
MOST_LABELS = 40
# A thousand records take seconds to be written; each user-data costs a launch template, and ends a batch.
GROUP_SECONDS = 15.0
TAG_CLUSTER = f"{PREFIX}cluster"
TAG_CELL = f"{PREFIX}cell"
TAG_NAMESPACE = f"{PREFIX}namespace"
TAG_POD = f"{PREFIX}pod"


def client_token(cell: Cell, now: float) -> str:
    """The token of the cell's next launch: its name, the count of launches, and when that is, roughly."""
    return f"{cell.name}-{cell.boots + 1}-{int(now // GROUP_SECONDS):x}"


def join_token(secret: bytes, token: str) -> str:
    """The join token of a launch with this client token."""
    group = token.rpartition("-")[2]
    return hmac.new(secret, f"join {group}".encode(), hashlib.sha256).hexdigest()


def request(
    cell: Cell, offers: tuple[Offer, ...], requirements: Requirements, facts: UserData, cluster: str
) -> LaunchRequest:
    """What to ask of the cloud."""
    return LaunchRequest(
        client_token=cell.client_token,
        offers=offers,
        user_data=render(facts),
        tags={**tags(cell), TAG_CLUSTER: cluster},
        annotations={key: value for key, value in required(cell).items() if key.startswith(PREFIX)},
        volume_gb=requirements.volume_gb,
        disk_gb=cell.demand.disk_gb,
    )


def required(cell: Cell) -> dict[str, str]:
    """Requirements of the cell's instance: its pod's annotations, or those of the class that it stands by for."""
    if cell.claim is not None:
        return cell.claim.annotations
    if cell.standby is None:
        return {}
    ceiling = {f"{PREFIX}max-price": f"{cell.standby.max_price:.9f}"} if cell.standby.max_price else {}
    return {**cell.standby.annotations, **ceiling}


def tags(cell: Cell) -> dict[str, str]:
    """Tags of the instance: the pod's labels, and whose it is. No label passes for a tag of ours."""
    ours = {"Name": str(cell.name), TAG_CELL: str(cell.name)}
    if cell.claim is None:
        return ours
    pod = cell.claim.pod
    theirs = sorted(item for item in cell.claim.labels.items() if not item[0].startswith(PREFIX))
    labels = dict(theirs[:MOST_LABELS])
    return {**labels, **ours, "Name": f"{pod.namespace}/{pod.name}", TAG_NAMESPACE: pod.namespace, TAG_POD: pod.name}


def refused(known: Unavailable, refusals: Iterable[Unfulfilled], asked: Iterable[Offer], now: float) -> Unavailable:
    """The memory of what cannot be had; where the cloud does not say which offers it refused, it was all of them."""
    keys: list[Key] = [(each.type, each.zone, each.launch_type) for each in refusals]
    for key in keys or [(offer.shape.type, offer.zone, offer.launch_type) for offer in asked]:
        known = marked(known, key, now)
    return known


def codes(outcome: LaunchOutcome) -> tuple[str, ...]:
    """Why offers were refused on the way to an instance, by the cloud's codes; else why all was, by kind of fault."""
    if refused := tuple(each.code for each in outcome.unfulfilled):
        return refused
    if outcome.instance is not None:
        return ()
    return (outcome.fault.kind.value if outcome.fault else "unknown",)


def offer_of(instance: Instance, offers: Iterable[Offer]) -> Offer | None:
    """What was bought."""
    bought = (instance.type, instance.zone, instance.launch_type)
    return next((each for each in offers if (each.shape.type, each.zone, each.launch_type) == bought), None)
