"""What our choice costs beside the cheapest possible, and beside the rule that Kip published; and how long it takes.

Kip: limits (not requests), price + (need - baseline) x 0.05 for burstable types, no overhead, any generation. Its pick
is charged what the pod really needs; where it is too small for requests and overhead it is counted as a misfit.
"""

from __future__ import annotations

import random
import statistics
import time
from pathlib import Path
from typing import Any

from controller.choice.catalogue import Catalogue, bundled_offers
from controller.choice.filters import rejection
from controller.choice.rank import effective_price, rank
from controller.choice.requirements import Requirements
from controller.choice.unavailable import Unavailable
from controller.model.offer import Demand, Offer
from controller.objects.pod_demand import of_pod, spec_of

PODS = 1000
DATA = Path(__file__).parent.parent / "controller" / "clouds" / "ec2" / "market" / "catalogue.json"


def pods() -> list[dict[str, Any]]:
    """Synthetic pods of the shapes that clusters show: many small, few large, a few with GPUs."""
    chance = random.Random(20261123)
    made: list[dict[str, Any]] = []
    for _ in range(PODS):
        cpu = int(min(chance.lognormvariate(5.8, 1.2), 96_000))
        memory = int(min(chance.lognormvariate(6.4, 1.4), 700_000))
        limits: dict[str, Any] = {"cpu": f"{cpu * chance.choice([1, 1, 2])}m", "memory": f"{memory}Mi"}
        if chance.random() < 0.03:
            limits["nvidia.com/gpu"] = chance.choice([1, 1, 4, 8])
        resources = {"requests": {"cpu": f"{cpu}m", "memory": f"{memory}Mi"}, "limits": limits}
        arch = {"nodeSelector": {"kubernetes.io/arch": "arm64"}} if chance.random() < 0.2 else {}
        made.append({"containers": [{"name": "c", "resources": resources}], **arch})
    return made


def too_small(offer: Offer, cpu: int, memory: int, gpus: int, architectures: tuple[str, ...]) -> bool:
    shape = offer.shape
    if shape.cpu_millis < cpu or shape.memory_mib < memory or shape.architecture not in (architectures or ("amd64",)):
        return True
    return bool(shape.gpus) != bool(gpus) or bool(shape.gpus and shape.gpus.count < gpus)


def kip(spec: dict[str, Any], offers: tuple[Offer, ...]) -> Offer | None:
    limits = spec["containers"][0]["resources"]["limits"]
    need = of_pod(spec_of({**spec, "containers": [{"resources": {"limits": limits}}]}))
    best: tuple[float, Offer] | None = None
    for offer in offers:
        shape = offer.shape
        memory = need.memory_mib - 96
        if shape.bare_metal or too_small(offer, need.cpu_millis, memory, need.gpus, need.architectures):
            continue
        above = max(0, need.cpu_millis - shape.baseline_millis) / 1000 if shape.burstable else 0
        price = offer.usd_per_hour + above * 0.05
        if best is None or price < best[0]:
            best = (price, offer)
    return best[1] if best else None


def optimum(demand: Demand, offers: tuple[Offer, ...]) -> float | None:
    requirements = Requirements()
    prices = [effective_price(demand, offer) for offer in offers if not rejection(demand, requirements, offer)[0]]
    return min(prices) if prices else None


def main() -> None:
    offers = bundled_offers(DATA.read_text(), "us-east-1", ("us-east-1a", "us-east-1b", "us-east-1c"))
    single = tuple(offer for offer in offers if offer.zone == "us-east-1a")
    catalogue = Catalogue(offers)
    ours = best = theirs = comparable = 0.0
    times: list[float] = []
    unfit = misfits = 0
    for spec in pods():
        demand = of_pod(spec_of(spec))
        started = time.perf_counter()
        ranked = rank(demand, Requirements(), catalogue, Unavailable(), 0.0).ranked
        times.append((time.perf_counter() - started) * 1000)
        cheapest = optimum(demand, single)
        if not ranked or cheapest is None:
            unfit += 1
            continue
        ours += ranked[0].usd_per_hour
        best += cheapest
        picked = kip(spec, single)
        if picked is None or picked.shape.memory_mib < demand.memory_mib or picked.shape.cpu_millis < demand.cpu_millis:
            misfits += 1
            continue
        theirs += effective_price(demand, picked)
        comparable += ranked[0].usd_per_hour
    times.sort()
    print(f"{len(offers)} offers, {PODS} pods, {unfit} that nothing fits")
    print(f"ranking of one pod: median {statistics.median(times):.2f} ms, p99 {times[int(PODS * 0.99)]:.2f} ms")
    print(f"ours {ours:.2f} USD/h, exhaustive optimum {best:.2f} USD/h")
    print(f"Kip's rule on the same pods: ours / Kip = {comparable / theirs:.3f}; Kip too small for {misfits} pods")
    print(f"ratio: {ours / best:.3f}")


if __name__ == "__main__":
    main()
