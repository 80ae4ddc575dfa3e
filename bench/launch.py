"""A thousand pods asked for at once, on EC2 as the tests have it: moto behind a front that throttles.

Fleet, link and cloud are the real ones. Twenty instances really boot, as network namespaces of this machine with their
user-data (BENCH_REAL says how many; without root none does); the others are doubles that join over real TLS and gRPC.
The ratio is our EC2 calls until every record has its running instance over the calls of a naive client: one
RunInstances and one DescribeInstances for each pod.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import structlog

from controller.fleet.plan import FleetLimits
from controller.fleet.room import Fleet, FleetSettings
from controller.model.names import PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from tests.support.ec2_world import world

PODS = int(os.environ.get("BENCH_PODS", "1000"))
REAL = int(os.environ.get("BENCH_REAL", "20" if os.geteuid() == 0 else "0"))
MOST_LAUNCHING = 25
MOST_CALLS = 60
NAIVE = 2
BOOT_SECONDS = 10.0  # of a double; a small Linux image on EC2 takes about as long
SUBNET = "10.232.0.0/18"
ZONES = ("us-east-1a", "us-east-1b", "us-east-1c", "us-east-1d")
LAUNCHING = ("CreateFleet", "RunInstances")
# A thousand doubles and their controller share this process: a late heartbeat says nothing about a cell here.
LIMITS = FleetLimits(lease=600.0, boot=900.0, launch=900.0)
SETTINGS = FleetSettings(cluster="bench", limits=LIMITS, heartbeat=60.0, survey=30.0)


def claim(number: int) -> PodClaim:
    """Pod `number`: all of like demand, each with a name of its own."""
    return PodClaim(
        pod=PodRef(uid=PodUid(f"uid-{number}"), namespace="default", name=f"pod-{number}"),
        demand=Demand(cpu_millis=100, memory_mib=128),
        labels={"app": "web"},
    )


async def run(folder: Path) -> None:
    async with (
        world(folder, real=REAL, boot=BOOT_SECONDS, cidr=SUBNET, zones=ZONES) as w,
        # moto takes many seconds to describe a thousand instances, and shares these cores.
        w.controller(SETTINGS, call_seconds=90.0, patience_seconds=300.0) as here,
    ):
        fleet = here.fleet
        w.front.calls.clear()
        w.front.buckets.refused.clear()
        started = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            cells = [tasks.create_task(fleet.claim(claim(number))) for number in range(PODS)]
            while not launched(fleet):
                await asyncio.sleep(0.05)
            calls = [(call.action, call.outcome) for call in w.front.calls if call.service == "ec2"]
            seconds = time.monotonic() - started
            print(f"{seconds:.1f} s: every record has its instance", flush=True)
            states = [one["State"]["Name"] for one in await w.described()]
            assert states == ["running"] * PODS, f"EC2 has {Counter(states)} for {PODS} pods"
        claimed = time.monotonic() - started
        assert len({cell.result().instance for cell in cells}) == PODS, "two pods have one instance"
        assert not w.instances.failed, f"instances that could not be booted: {w.instances.failed}"
        booted = dict(w.instances.booted)
        print(f"{PODS} pods asked for at once; instances that booted and joined: {booted}")
        print(f"every record had its running instance after {seconds:.1f} s, every pod its cell after {claimed:.1f} s")
        after = Counter(call.action for call in w.front.calls if call.service == "ec2") - Counter(a for a, _ in calls)
        print(f"calls between the two (names for people, at leisure): {dict(after)}")
        report(calls, dict(w.front.buckets.refused))


def launched(fleet: Fleet) -> bool:
    """Whether every pod's record has its instance."""
    cells = fleet.list()
    return len(cells) == PODS and all(cell.instance for cell in cells)


def report(calls: list[tuple[str, str]], throttled: dict[str, int]) -> None:
    print(f"{'EC2 call':<36}{'outcome':<24}{'calls':>6}")
    for (action, outcome), count in sorted(Counter(calls).items()):
        print(f"{action:<36}{outcome:<24}{count:>6}")
    launching = sum(action in LAUNCHING for action, _ in calls)
    print(
        f"launching calls {launching} (of {MOST_LAUNCHING} allowed); EC2 calls {len(calls)} (of {MOST_CALLS} allowed)"
    )
    print(f"throttled beyond the documented buckets: {sum(throttled.values())} {throttled or ''}")
    print(f"a naive client needs {NAIVE * PODS} calls: RunInstances and DescribeInstances for each pod")
    failed = launching > MOST_LAUNCHING or len(calls) > MOST_CALLS or bool(throttled)
    if failed:
        raise SystemExit("launch: a bound was missed")
    print(f"ratio: {len(calls) / (NAIVE * PODS):.3f}")


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory(prefix="bench-launch-") as folder:
        asyncio.run(run(Path(folder)))


if __name__ == "__main__":
    main()
