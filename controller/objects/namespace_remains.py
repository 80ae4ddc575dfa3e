"""What keeps a namespace from its end, as conditions of its status. Pure, in Kubernetes' words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from controller.objects.fields import Json
from controller.objects.timestamps import timestamp


def told(namespace: Json, left: Iterable[tuple[str, Json]], now: float) -> Json:
    """The namespace with conditions of what is left in it, each under the name of its kind."""
    resources, finalizers = Counter[str](), Counter[str]()
    for key, one in left:
        # A kind of the core group ends with the full stop before its group.
        resources[key if "." in key else f"{key}."] += 1
        finalizers.update(one["metadata"].get("finalizers") or ())
    conditions = (_deleted(), _content(resources), _finalizers(finalizers))
    before = {one["type"]: one for one in namespace["status"].get("conditions") or ()}
    held = [_since(before.get(one["type"]), one, now) for one in conditions]
    return {**namespace, "status": {**namespace["status"], "conditions": held}}


def _deleted() -> Json:
    said = "All content successfully deleted, may be waiting on finalization"
    return {"type": "NamespaceDeletionContentFailure", "status": "False", "reason": "ContentDeleted", "message": said}


def _content(resources: Counter[str]) -> Json:
    listed = ", ".join(f"{key} has {number} resource instances" for key, number in sorted(resources.items()))
    told = {"status": "True", "reason": "SomeResourcesRemain", "message": f"Some resources are remaining: {listed}"}
    done = {"status": "False", "reason": "ContentRemoved", "message": "All content successfully removed"}
    return {"type": "NamespaceContentRemaining", **(told if resources else done)}


def _finalizers(finalizers: Counter[str]) -> Json:
    listed = ", ".join(f"{name} in {number} resource instances" for name, number in sorted(finalizers.items()))
    said = f"Some content in the namespace has finalizers remaining: {listed}"
    told = {"status": "True", "reason": "SomeFinalizersRemain", "message": said}
    words = "All content-preserving finalizers finished"
    done = {"status": "False", "reason": "ContentHasNoFinalizers", "message": words}
    return {"type": "NamespaceFinalizersRemaining", **(told if finalizers else done)}


def _since(before: Json | None, one: Json, now: float) -> Json:
    same = before is not None and before["status"] == one["status"]
    return {**one, "lastTransitionTime": before["lastTransitionTime"] if same and before else timestamp(now)}
