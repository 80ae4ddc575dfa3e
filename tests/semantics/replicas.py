"""Scenarios of Deployments, ReplicaSets and StatefulSets: bounds in percent, history, adoption, order."""

from __future__ import annotations

from tests.semantics.making import DEPLOYMENTS, SETS, STATEFUL, running, template
from tests.semantics.planes import Json
from tests.semantics.player import Player, is_ready


async def sizes(it: Player, name: str) -> list[int]:
    """How many pods the sets of a deployment are to have, the largest first."""
    sets = [one for one in await it.plane.list(SETS) if one["metadata"]["name"].startswith(f"{name}-")]
    return sorted((one["spec"]["replicas"] for one in sets), reverse=True)


async def sized(it: Player, name: str, wanted: list[int]) -> None:
    """Wait until the sets of a deployment have these sizes."""
    last: list[int] = []

    async def there() -> bool:
        nonlocal last
        last = await sizes(it, name)
        return last == wanted

    try:
        await it.until(f"sets of {wanted}", there)
    except AssertionError:
        raise AssertionError(f"the sets of {name} never have {wanted} pods, but {last}") from None


async def rolls_within_a_share(it: Player) -> None:
    """A quarter more, rounded up, and a quarter fewer, rounded down, as it comes."""
    await it.create(DEPLOYMENTS, running("Deployment", "share", 5))
    await it.all_ready("share", 5)
    await it.status(DEPLOYMENTS, "share", availableReplicas=5)
    await it.spec(DEPLOYMENTS, "share", template=template("share", "a:2"))
    await sized(it, "share", [4, 3])
    pods = await it.count("share", 7)
    assert sum(map(is_ready, pods)) == 4


async def forgets_old_sets(it: Player) -> None:
    await it.create(DEPLOYMENTS, running("Deployment", "forgets", 1, revisionHistoryLimit=1))
    for number in range(1, 4):
        await it.spec(DEPLOYMENTS, "forgets", template=template("forgets", f"a:{number}"))

        async def new(image: str = f"a:{number}") -> list[Json]:
            pods = await it.active("forgets")
            return [pod for pod in pods if pod["spec"]["containers"][0]["image"] == image]

        (pod,) = await it.until(f"a pod of a:{number}", new)
        await it.ready(pod)
        await it.count("forgets", 1)
    await it.condition(DEPLOYMENTS, "forgets", "Progressing", reason="NewReplicaSetAvailable")
    await sized(it, "forgets", [1, 0])


async def gets_over_its_deadline(it: Player) -> None:
    await it.create(DEPLOYMENTS, running("Deployment", "slowly", 1, progressDeadlineSeconds=1))
    (pod,) = await it.count("slowly", 1)
    await it.condition(DEPLOYMENTS, "slowly", "Progressing", "False", reason="ProgressDeadlineExceeded")
    await it.ready(pod)
    await it.condition(DEPLOYMENTS, "slowly", "Progressing", reason="NewReplicaSetAvailable")


async def adopts_and_lets_go(it: Player) -> None:
    stray = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stray", "labels": {"app": "adopts"}}}
    await it.create("pods", {**stray, "spec": template("adopts")["spec"]})
    await it.create(SETS, running("ReplicaSet", "adopts", 2))
    pods = await it.count("adopts", 2)
    assert "stray" in {pod["metadata"]["name"] for pod in pods}

    async def owned() -> bool:
        pods = await it.pods("adopts")
        owners = [(pod["metadata"].get("ownerReferences") or [{}])[0].get("name") for pod in pods]
        return owners == ["adopts", "adopts"]

    await it.until("both to be owned", owned)

    def elsewhere(one: Json) -> Json:
        return {**one, "metadata": {**one["metadata"], "labels": {"app": "free"}}}

    await it.plane.change("pods", "stray", elsewhere)
    await it.count("adopts", 2)

    async def free() -> bool:
        (pod,) = await it.pods("free")
        return not pod["metadata"].get("ownerReferences")

    await it.until("the stray to be nobody's", free)


async def comes_all_at_once(it: Player) -> None:
    parallel = running("StatefulSet", "atonce", 3, serviceName="atonce", podManagementPolicy="Parallel")
    await it.create(STATEFUL, parallel)
    pods = await it.count("atonce", 3)
    assert [pod["metadata"]["name"] for pod in pods] == ["atonce-0", "atonce-1", "atonce-2"]
    assert not any(map(is_ready, pods))
    await it.spec(STATEFUL, "atonce", replicas=1)
    (last,) = await it.count("atonce", 1)
    assert last["metadata"]["name"] == "atonce-0"


async def is_renewed_by_who_deletes_its_pods(it: Player) -> None:
    strategy = {"type": "OnDelete"}
    await it.create(STATEFUL, running("StatefulSet", "byhand", 2, serviceName="byhand", updateStrategy=strategy))
    for number in range(2):
        await it.ready((await it.count("byhand", number + 1))[-1])
    await it.status(STATEFUL, "byhand", readyReplicas=2, currentReplicas=2)
    await it.spec(STATEFUL, "byhand", template=template("byhand", "a:2"))
    await it.status(STATEFUL, "byhand", readyReplicas=2, updatedReplicas=0)
    before = await it.count("byhand", 2)
    await it.plane.delete("pods", "byhand-0")

    async def new() -> bool:
        pods = await it.pods("byhand")
        return [pod["spec"]["containers"][0]["image"] for pod in pods] == ["a:2", "a:1"]

    await it.until("the new template for who was deleted", new)
    kept = {pod["metadata"]["uid"] for pod in await it.pods("byhand")}
    assert before[1]["metadata"]["uid"] in kept


SCENARIOS = (
    *(rolls_within_a_share, forgets_old_sets, gets_over_its_deadline, adopts_and_lets_go),
    *(comes_all_at_once, is_renewed_by_who_deletes_its_pods),
)
