"""Pods whose cell is lost, will be taken or outlives a controller, as kubectl sees them."""

import json
import re
from pathlib import Path

from cellwire.faults import Fault, Kind
from controller.model.cell import NoticeKind
from controller.model.names import CellName
from tests.support.cells_double import cells
from tests.support.pods_api import manifest, world

SAYS_BYE = 'trap "echo bye; exit 5" TERM; echo began; while :; do sleep 0.05; done'


async def test_a_lost_cell_means_a_new_one_for_a_pod_that_always_restarts(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        it.fleet.lose(next(iter(it.fleet.cells)))
        out = await it.until("c-1", "get", "pods", "-o", "wide")
        assert "Running" in await it.until("1/1", "get", "pods"), out
        assert "CellLost" in await it.ok("describe", "pod", "web")


async def test_a_pod_whose_instance_will_be_taken_is_ended_and_runs_anew_meanwhile(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest(SAYS_BYE))
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        await it.until("began", "logs", "web")
        (first,) = it.fleet.cells
        it.fleet.announce(first, NoticeKind.REBALANCE, 0.0, ends=False)
        await it.until("RebalanceRecommended", "describe", "pod", "web")
        it.fleet.announce(first, NoticeKind.INTERRUPTION, 100.0)
        out = await it.until("c-1", "get", "pods", "-o", "wide")
        assert "Running" in await it.until("1/1", "get", "pods"), out
        described = await it.ok("describe", "pod", "web")
        assert re.search(r"Interrupted .*will be reclaimed at 20", described), described
        last = json.loads(await it.ok("get", "pod", "web", "-o", "json"))["status"]["containerStatuses"][0]["lastState"]
        assert (last["terminated"]["exitCode"], last["terminated"]["reason"]) == (5, "Interrupted")
        assert "bye" in await it.ok("logs", "web", "--previous")
        assert it.fleet.released == [first]


async def test_a_cell_whose_release_failed_is_given_back_before_the_pod_runs_anew(tmp_path: Path) -> None:
    async with cells() as fleet, world(tmp_path, fleet) as it:
        await it.ok("apply", "-f", "-", stdin=manifest(SAYS_BYE))
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        (first,) = fleet.cells
        release = fleet.release

        async def fails_once(name: CellName, reason: str) -> None:
            fleet.release = release
            raise Fault(Kind.UNAVAILABLE, "store", "it does not answer")

        fleet.release = fails_once
        fleet.announce(first, NoticeKind.INTERRUPTION, 100.0)
        await it.until("c-1", "get", "pods", "-o", "wide", deadline=30)
        assert fleet.released == [first]


async def test_a_pod_that_will_not_stop_is_cut_short_by_the_end_of_its_instance(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        deaf = 'trap "" TERM; echo began; while :; do sleep 0.05; done'
        await it.ok("apply", "-f", "-", stdin=manifest(deaf, terminationGracePeriodSeconds=300, restartPolicy="Never"))
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        await it.until("began", "logs", "web")
        it.fleet.announce(next(iter(it.fleet.cells)), NoticeKind.INTERRUPTION, 11.0)
        await it.until("Failed", "get", "pod", "web", "-o", "jsonpath={.status.phase}")
        assert "Interrupted" in await it.ok("get", "pod", "web", "-o", "jsonpath={.status.reason}")
        assert len(it.fleet.doubles) == 1, "it never restarts: no cell is made for it"


async def test_a_restarted_controller_goes_on_without_a_lost_or_doubled_line(tmp_path: Path) -> None:
    script = "i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); sleep 0.1; done; sleep 1000"
    async with cells() as fleet:
        async with world(tmp_path, fleet) as it:
            await it.ok("apply", "-f", "-", stdin=manifest(script))
            await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        async with world(tmp_path, fleet) as it:
            assert "Running" in await it.ok("get", "pods")
            await it.until("line 39", "logs", "web")
            assert await it.ok("logs", "web") == "".join(f"line {i}\n" for i in range(40))
            assert len(fleet.doubles) == 1
            await it.ok("delete", "pod", "web", "--grace-period=1")


async def test_events_and_the_price_of_a_pod_outlive_the_controller(tmp_path: Path) -> None:
    bought = "Launched c-0 on d1.small spot in double-1a for 0.0145 USD/h"
    async with cells() as fleet:
        async with world(tmp_path, fleet) as it:
            given = json.loads(manifest())
            given["metadata"]["annotations"] = {"chinampa.dev/hourly-price": "0.5", "chinampa.dev/cell-zone": "stale"}
            await it.ok("apply", "-f", "-", stdin=json.dumps(given))
            await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
            await it.until(bought, "describe", "pod", "web")
            before = await it.ok("get", "events", "-o", "name")
            assert (
                json.loads(await it.ok("get", "pod", "web", "-o", "json"))["metadata"]["annotations"].items()
                >= {
                    "chinampa.dev/hourly-price": "0.014500",
                    "chinampa.dev/cell-type": "d1.small",
                    "chinampa.dev/cell-launch-type": "spot",
                    "chinampa.dev/cell-zone": "double-1a",
                }.items()
            )
            await it.ok("annotate", "pod", "web", "chinampa.dev/hourly-price=9", "--overwrite")
            assert "0.014500" in await it.ok("describe", "pod", "web")
        async with world(tmp_path, fleet) as it:
            assert set(before.split()) <= set((await it.ok("get", "events", "-o", "name")).split())
            described = await it.ok("describe", "pod", "web")
            assert bought in described
            for reason in ("Scheduled", "Pulled", "Created", "Started"):
                assert f"  {reason} " in described
            await it.ok("delete", "pod", "web", "--grace-period=1")
            assert bought in await it.ok("get", "events"), "events of a pod that is gone are kept for their hour"
