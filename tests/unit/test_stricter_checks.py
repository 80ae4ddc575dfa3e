"""Objects that a check would refuse by now are labelled, deleted and mended still."""

from __future__ import annotations

from typing import Any

import pytest

from controller.api.all_kinds import KEPT
from controller.objects import admission
from controller.objects.fields import Invalid
from controller.pods.kind import PODS

Json = dict[str, Any]
# A variable from nowhere, as no check lets it through.
CONTAINERS: Json = {"containers": [{"name": "a", "image": "b", "env": [{"name": "A", "valueFrom": {}}]}]}
TEMPLATE: Json = {"metadata": {"labels": {"app": "a"}}, "spec": CONTAINERS}
DEPLOYMENT: Json = {"replicas": 1, "selector": {"matchLabels": {"app": "a"}}, "template": TEMPLATE}


def there(spec: Json, **metadata: Any) -> Json:
    return {"metadata": {"name": "x", "namespace": "default", "uid": "u", **metadata}, "spec": spec}


def changed(kind: str, before: Json, after: Json) -> Json:
    resource = next(one for one in (*KEPT, PODS) if one.kind == kind)
    how = admission.How(validation="Strict")
    return admission.checked(resource, admission.carried(resource, before, after, how), before, how)


@pytest.mark.parametrize(("kind", "spec"), [("Pod", CONTAINERS), ("Deployment", DEPLOYMENT)])
def test_what_was_accepted_once_is_labelled_and_let_go(kind: str, spec: Json) -> None:
    before = there(spec, finalizers=["example.com/a"])
    assert "finalizers" not in changed(kind, before, there(spec))["metadata"]
    assert changed(kind, before, there(spec, labels={"team": "b"}))["metadata"]["labels"] == {"team": "b"}
    with pytest.raises(Invalid, match=r"metadata\.labels"):
        changed(kind, before, there(spec, labels={"team": "no label"}))


def test_what_a_pod_may_not_change_it_may_not_change_then_either() -> None:
    before = there(CONTAINERS)
    with pytest.raises(Invalid, match=r"valueFrom"):
        changed("Pod", before, there({**CONTAINERS, "hostNetwork": True}))
    with pytest.raises(Invalid, match=r"chinampa\.dev/zone.*chose"):
        changed("Pod", before, there(CONTAINERS, annotations={"chinampa.dev/zone": "a"}))
