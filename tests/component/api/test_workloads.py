"""Workloads by plain kubectl, on cells that are doubles."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.cells_double import cells
from tests.support.pods_api import world

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed: NOTHING here ran")
LONG = 60.0


def deployment(replicas: int = 2, image: str = "busybox:1") -> str:
    container = {"name": "web", "image": image, "command": ["sleep", "1000"]}
    pod = {"containers": [container], "terminationGracePeriodSeconds": 1}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod}
    return json.dumps(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template},
        }
    )


def job(script: str, **spec: Any) -> str:
    container = {"name": "work", "image": "busybox:1", "command": ["sh", "-c", script]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    made = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "work"},
        "spec": {"template": template, **spec},
    }
    return json.dumps(made)


async def test_a_deployment_rolls_out_back_and_scales(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=deployment())
        status = ("rollout", "status", "deployment/web", "--timeout=50s")
        assert "successfully rolled out" in await it.ok(*status, deadline=LONG)
        await it.ok("set", "image", "deployment/web", "web=busybox:2")
        await it.ok(*status, deadline=LONG)
        images = ("get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}")
        await it.until("busybox:2 busybox:2", *images, deadline=LONG)
        assert (await it.ok("rollout", "history", "deployment/web")).count("<none>") == 2
        await it.ok("rollout", "undo", "deployment/web")
        await it.ok(*status, deadline=LONG)
        await it.until("busybox:1 busybox:1", *images, deadline=LONG)
        await it.ok("rollout", "restart", "deployment/web")
        await it.ok(*status, deadline=LONG)
        await it.ok("scale", "deployment/web", "--replicas=0")
        await it.ok("wait", "--for=delete", "pods", "-l", "app=web", "--timeout=50s", deadline=LONG)
        shown = await it.ok("get", "all")
        assert "deployment.apps/web" in shown
        assert "replicaset.apps/web-" in shown
        await it.ok("delete", "deployment", "web")
        await it.ok("wait", "--for=delete", "rs", "--all", "--timeout=20s", deadline=LONG)


async def test_a_stateful_set_keeps_its_history_and_goes_back(tmp_path: Path) -> None:
    one = json.loads(deployment(1))
    one |= {"kind": "StatefulSet", "spec": {**one["spec"], "serviceName": "web"}}
    image = ("get", "pod", "web-0", "-o", "jsonpath={.spec.containers[0].image}")
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=json.dumps(one))
        status = ("rollout", "status", "statefulset/web", "--timeout=50s")
        await it.ok(*status, deadline=LONG)
        await it.ok("annotate", "statefulset/web", "kubernetes.io/change-cause=a newer busybox")
        await it.ok("set", "image", "statefulset/web", "web=busybox:2")
        await it.ok(*status, deadline=LONG)
        await it.until("busybox:2", *image, deadline=LONG)
        history = await it.ok("rollout", "history", "statefulset/web")
        assert [line.split(maxsplit=1) for line in history.splitlines()[2:] if line] == [
            ["1", "<none>"],
            ["2", "a newer busybox"],
        ]
        assert "busybox:1" in await it.ok("rollout", "history", "statefulset/web", "--revision=1")
        shown = (await it.ok("get", "controllerrevisions")).splitlines()
        assert shown[0].split() == ["NAME", "CONTROLLER", "REVISION", "AGE"]
        assert {line.split()[1] for line in shown[1:]} == {"statefulset.apps/web"}
        assert "rolled back" in await it.ok("rollout", "undo", "statefulset/web")
        await it.ok(*status, deadline=LONG)
        await it.until("busybox:1", *image, deadline=LONG)
        history = await it.ok("rollout", "history", "sts/web")
        assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["2", "3"]
        await it.ok("delete", "statefulset", "web")
        await it.ok("wait", "--for=delete", "controllerrevisions", "--all", "--timeout=20s", deadline=LONG)


@pytest.mark.parametrize("kind", ["StatefulSet", "Deployment"])
async def test_what_an_orphaning_deletion_left_behind_runs_on_under_who_comes_next(tmp_path: Path, kind: str) -> None:
    """So are fields changed that cannot change: the pods that run are not ended."""
    one = json.loads(deployment(2))
    one |= {"kind": kind, "spec": {**one["spec"], **({"serviceName": "web"} if kind == "StatefulSet" else {})}}
    uids = ("get", "pods", "-o", "jsonpath={.items[*].metadata.uid}")
    status = ("rollout", "status", f"{kind}/web", "--timeout=50s")
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=json.dumps(one))
        await it.ok(*status, deadline=LONG)
        before = await it.ok(*uids)
        await it.ok("delete", kind, "web", "--cascade=orphan")
        assert await it.ok(*uids) == before
        await it.ok("apply", "-f", "-", stdin=json.dumps(one))
        await it.ok(*status, deadline=LONG)
        assert await it.ok(*uids) == before
        await it.ok("scale", f"{kind}/web", "--replicas=0")
        await it.ok("wait", "--for=delete", "pods", "--all", "--timeout=50s", deadline=LONG)


async def test_a_jobs_pods_run_to_its_completions_and_go_with_it(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        spec = {"completions": 3, "parallelism": 2, "completionMode": "Indexed"}
        await it.ok("apply", "-f", "-", stdin=job("echo index $JOB_COMPLETION_INDEX", **spec))
        await it.ok("wait", "--for=condition=complete", "job/work", "--timeout=50s", deadline=LONG)
        assert "3/3" in await it.ok("get", "jobs")
        logs = await it.ok("logs", "-l", "job-name=work", "--tail=-1")
        assert sorted(logs.splitlines()) == ["index 0", "index 1", "index 2"]
        assert "0-2" in await it.ok("get", "job", "work", "-o", "jsonpath={.status.completedIndexes}")
        await it.ok("delete", "job", "work")
        await it.ok("wait", "--for=delete", "pods", "--all", "--timeout=30s", deadline=LONG)


async def test_a_job_that_fails_says_why(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=job("exit 3", backoffLimit=0))
        await it.ok("wait", "--for=condition=failed", "job/work", "--timeout=50s", deadline=LONG)
        assert "BackoffLimitExceeded" in await it.ok("describe", "job", "work")


async def test_a_job_is_made_of_a_cron_job_and_a_wrong_schedule_is_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        args = ("create", "cronjob", "tick", "--image=busybox:1")
        await it.ok(*args, "--schedule=0 0 1 1 *", "--", "sh", "-c", "echo tock")
        await it.ok("create", "job", "now", "--from=cronjob/tick")
        await it.ok("wait", "--for=condition=complete", "job/now", "--timeout=50s", deadline=LONG)
        assert "0 0 1 1 *" in await it.ok("get", "cronjobs")
        ran = await it.kubectl("create", "cronjob", "bad", "--image=b", "--schedule=61 * * * *")
        assert "spec.schedule: Invalid value" in ran.err


async def test_a_template_that_no_pod_could_have_is_refused_with_its_field(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        wrong = json.loads(deployment())
        volume = {"name": "v", "awsElasticBlockStore": {"volumeID": "c"}}
        wrong["spec"]["template"]["spec"]["volumes"] = [volume]
        ran = await it.kubectl("apply", "-f", "-", stdin=json.dumps(wrong))
        assert "spec.template.spec.volumes[0].awsElasticBlockStore: Forbidden" in ran.err


async def test_a_controller_that_was_killed_goes_on_with_its_workloads(tmp_path: Path) -> None:
    async with cells() as fleet:
        async with world(tmp_path, fleet) as it:
            await it.ok("apply", "-f", "-", stdin=deployment(1))
            await it.until("1/1", "get", "deployment", "web", deadline=LONG)
        async with world(tmp_path, fleet) as it:
            await asyncio.sleep(0.2)
            assert len((await it.ok("get", "pods", "-o", "name")).split()) == 1
            await it.ok("scale", "deployment/web", "--replicas=2")
            await it.until("2/2", "get", "deployment", "web", deadline=LONG)


async def test_an_indexed_job_has_no_more_indexes_than_kubernetes_allows_and_a_strange_status_stops_nothing(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as it:
        wrong = {"completions": 100_001, "parallelism": 2**31 - 1, "completionMode": "Indexed"}
        ran = await it.kubectl("create", "-f", "-", stdin=job("exit 0", **wrong))
        for name in ("completions", "parallelism"):
            assert f"spec.{name}: Invalid value" in ran.err
        assert "must be less than or equal to 100000" in ran.err
        right = {"completions": 2, "completionMode": "Indexed", "suspend": True}
        await it.ok("create", "-f", "-", stdin=job("exit 0", **right))
        strange = json.dumps({"status": {"completedIndexes": "7-99999999999,x"}})
        await it.ok("patch", "job", "work", "--subresource=status", "--type=merge", "-p", strange)
        await it.ok(
            "create", "-f", "-", stdin=job("exit 0").replace('"name": "work"}, "spec"', '"name": "next"}, "spec"')
        )
        await it.ok("wait", "--for=condition=complete", "job/next", "--timeout=50s", deadline=LONG)
