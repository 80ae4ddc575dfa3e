"""The RPCs that tell: lists, statuses, statistics, events, what the runtime is. Thin, from memory where possible."""

from __future__ import annotations

import base64
import json
import shutil
import time
from functools import cache
from pathlib import Path

from grpclib.server import Stream

from cellagent.kernel import cgroups
from cellagent.network import pod_network
from cellagent.runtime import bundle, views
from cellagent.runtime.answering import pages, received
from cellagent.runtime.ledger import ContainerEntry, Phase, SandboxEntry
from cellagent.runtime.lifecycle_rpcs import RuntimeLifecycle
from cellagent.runtime.machine import Machine
from cellagent.runtime.stats import cadvisor
from cellwire.cri import cadvisor_metrics
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.version import VERSION
from hostkit.programs import SEARCH_PATH

NAME = "chinampa"
# The kubelet compares this word for word: it is the version of its own old API, not of CRI.
KUBELET_API = "0.1.0"
API = "v1"


class RuntimeService(RuntimeLifecycle):
    """The whole service: what acts, and what tells."""

    async def Version(self, stream: Stream[cri.VersionRequest, cri.VersionResponse]) -> None:
        await received(stream)
        await stream.send_message(version())

    async def Status(self, stream: Stream[cri.StatusRequest, cri.StatusResponse]) -> None:
        request = await received(stream)
        await stream.send_message(status(self._machine, verbose=request.verbose))

    async def RuntimeConfig(self, stream: Stream[cri.RuntimeConfigRequest, cri.RuntimeConfigResponse]) -> None:
        await received(stream)
        await stream.send_message(configuration())

    async def UpdateRuntimeConfig(
        self, stream: Stream[cri.UpdateRuntimeConfigRequest, cri.UpdateRuntimeConfigResponse]
    ) -> None:
        # The pod CIDR is of no use here; an error would make a kubelet ask again for ever.
        await received(stream)
        await stream.send_message(cri.UpdateRuntimeConfigResponse())

    async def ListPodSandbox(self, stream: Stream[cri.ListPodSandboxRequest, cri.ListPodSandboxResponse]) -> None:
        items = self._sandboxes_wanted((await received(stream)).filter)
        await stream.send_message(cri.ListPodSandboxResponse(items=map(views.sandbox, items)))

    async def StreamPodSandboxes(
        self, stream: Stream[cri.StreamPodSandboxesRequest, cri.StreamPodSandboxesResponse]
    ) -> None:
        for page in pages(self._sandboxes_wanted((await received(stream)).filter)):
            await stream.send_message(cri.StreamPodSandboxesResponse(pod_sandboxes=map(views.sandbox, page)))

    async def PodSandboxStatus(self, stream: Stream[cri.PodSandboxStatusRequest, cri.PodSandboxStatusResponse]) -> None:
        request = await received(stream)
        record = self._machine.ledger.sandbox(request.pod_sandbox_id)
        told = cri.PodSandboxStatusResponse(
            status=views.sandbox_status(record),
            containers_statuses=map(views.container_status, self._machine.ledger.containers(record.id)),
            timestamp=time.time_ns(),
        )
        if request.verbose:
            trouble = await self._sandboxes.network_trouble(record) if record.phase is Phase.READY else ""
            told.info["info"] = json.dumps({**_sandbox_info(record), "networkTrouble": trouble})
            told.info["config"] = base64.b64encode(record.config).decode()
        await stream.send_message(told)

    async def ListContainers(self, stream: Stream[cri.ListContainersRequest, cri.ListContainersResponse]) -> None:
        items = self._containers_wanted((await received(stream)).filter)
        await stream.send_message(cri.ListContainersResponse(containers=map(views.container, items)))

    async def StreamContainers(self, stream: Stream[cri.StreamContainersRequest, cri.StreamContainersResponse]) -> None:
        for page in pages(self._containers_wanted((await received(stream)).filter)):
            await stream.send_message(cri.StreamContainersResponse(containers=map(views.container, page)))

    async def ContainerStatus(self, stream: Stream[cri.ContainerStatusRequest, cri.ContainerStatusResponse]) -> None:
        request = await received(stream)
        record = self._machine.ledger.container(request.container_id)
        told = cri.ContainerStatusResponse(status=views.container_status(record))
        if request.verbose:
            told.info["info"] = json.dumps(_container_info(self._machine, record))
        await stream.send_message(told)

    async def ContainerStats(self, stream: Stream[cri.ContainerStatsRequest, cri.ContainerStatsResponse]) -> None:
        record = self._machine.ledger.container((await received(stream)).container_id)
        await self._stats.look()
        await stream.send_message(cri.ContainerStatsResponse(stats=self._stats.container(record)))

    async def ListContainerStats(
        self, stream: Stream[cri.ListContainerStatsRequest, cri.ListContainerStatsResponse]
    ) -> None:
        asked = await received(stream)
        await self._stats.look()
        found = self._stats.containers(asked.filter)
        await stream.send_message(cri.ListContainerStatsResponse(stats=found))

    async def StreamContainerStats(
        self, stream: Stream[cri.StreamContainerStatsRequest, cri.StreamContainerStatsResponse]
    ) -> None:
        asked = await received(stream)
        await self._stats.look()
        for page in pages(self._stats.containers(asked.filter)):
            await stream.send_message(cri.StreamContainerStatsResponse(container_stats=page))

    async def PodSandboxStats(self, stream: Stream[cri.PodSandboxStatsRequest, cri.PodSandboxStatsResponse]) -> None:
        record = self._machine.ledger.sandbox((await received(stream)).pod_sandbox_id)
        await self._stats.look()
        await stream.send_message(cri.PodSandboxStatsResponse(stats=self._stats.sandbox(record)))

    async def ListPodSandboxStats(
        self, stream: Stream[cri.ListPodSandboxStatsRequest, cri.ListPodSandboxStatsResponse]
    ) -> None:
        asked = await received(stream)
        await self._stats.look()
        found = self._stats.sandboxes(asked.filter)
        await stream.send_message(cri.ListPodSandboxStatsResponse(stats=found))

    async def StreamPodSandboxStats(
        self, stream: Stream[cri.StreamPodSandboxStatsRequest, cri.StreamPodSandboxStatsResponse]
    ) -> None:
        asked = await received(stream)
        await self._stats.look()
        for page in pages(self._stats.sandboxes(asked.filter)):
            await stream.send_message(cri.StreamPodSandboxStatsResponse(pod_sandbox_stats=page))

    async def GetContainerEvents(self, stream: Stream[cri.GetEventsRequest, cri.ContainerEventResponse]) -> None:
        with self._machine.events.subscribed() as subscription:
            await received(stream)
            # A client may count on every event after it has seen the headers.
            await stream.send_initial_metadata()
            while True:
                await stream.send_message(await subscription.next())

    async def ListMetricDescriptors(
        self, stream: Stream[cri.ListMetricDescriptorsRequest, cri.ListMetricDescriptorsResponse]
    ) -> None:
        await received(stream)
        await stream.send_message(cri.ListMetricDescriptorsResponse(descriptors=cadvisor_metrics.descriptors()))

    async def ListPodSandboxMetrics(
        self, stream: Stream[cri.ListPodSandboxMetricsRequest, cri.ListPodSandboxMetricsResponse]
    ) -> None:
        await received(stream)
        await self._stats.look()
        await stream.send_message(
            cri.ListPodSandboxMetricsResponse(pod_metrics=cadvisor.sandboxes(self._machine, self._stats))
        )

    async def StreamPodSandboxMetrics(
        self, stream: Stream[cri.StreamPodSandboxMetricsRequest, cri.StreamPodSandboxMetricsResponse]
    ) -> None:
        await received(stream)
        await self._stats.look()
        for page in pages(cadvisor.sandboxes(self._machine, self._stats)):
            await stream.send_message(cri.StreamPodSandboxMetricsResponse(pod_sandbox_metrics=page))

    def _sandboxes_wanted(self, wanted: cri.PodSandboxFilter) -> list[SandboxEntry]:
        return [one for one in self._machine.ledger.sandboxes() if views.sandbox_wanted(one, wanted)]

    def _containers_wanted(self, wanted: cri.ContainerFilter) -> list[ContainerEntry]:
        return [one for one in self._machine.ledger.containers() if views.container_wanted(one, wanted)]


def _sandbox_info(record: SandboxEntry) -> dict[str, object]:
    told: dict[str, object] = {"cgroup": record.cgroup, "namespaces": record.namespaces, "network": record.network}
    for name, given in (("resources", record.resources), ("overhead", record.overhead)):
        told[name] = views.plain_resources(cri.LinuxContainerResources.FromString(given))
    return told


def _container_info(machine: Machine, record: ContainerEntry) -> dict[str, object]:
    spec = bundle.read_spec(machine.settings.bundle(record.id))
    return {"pid": record.pid, "sandboxID": record.sandbox_id, "cgroup": record.cgroup, "runtimeSpec": spec}


def version() -> cri.VersionResponse:
    """All four fields; a kubelet refuses a reply that lacks one."""
    return cri.VersionResponse(version=KUBELET_API, runtime_name=NAME, runtime_version=VERSION, runtime_api_version=API)


def status(machine: Machine, *, verbose: bool) -> cri.StatusResponse:
    """Conditions that a kubelet waits for, and what each runtime handler can do."""
    conmon = shutil.which("conmon", path=SEARCH_PATH)
    trouble = "" if machine.settings.pod_address else pod_network.trouble(machine.settings.plugins)
    features = cri.RuntimeHandlerFeatures(
        recursive_read_only_mounts=_recursive_read_only(), user_namespaces=machine.user_namespaces.works
    )
    told = cri.StatusResponse(
        status=cri.RuntimeStatus(
            conditions=[
                cri.RuntimeCondition(
                    type="RuntimeReady",
                    status=conmon is not None,
                    reason="" if conmon else "ConmonMissing",
                    message="" if conmon else "conmon is not installed; install Debian's package conmon",
                ),
                cri.RuntimeCondition(
                    type="NetworkReady",
                    status=not trouble,
                    reason="NetworkPluginNotReady" if trouble else "",
                    message=trouble,
                ),
            ]
        ),
        runtime_handlers=[
            cri.RuntimeHandler(name=name, features=features) for name in ("", NAME, machine.runtime.name)
        ],
        features=cri.RuntimeFeatures(supplemental_groups_policy=True, mount_options=True),
    )
    if verbose:
        info = {
            "runtime": {"name": machine.runtime.name, "path": str(machine.runtime.path), "why": machine.runtime.why},
            "cgroups": cgroups.layout().value,
            "root": str(machine.settings.root),
            "state": str(machine.settings.state),
            "podAddress": machine.settings.pod_address,
            "userNamespaces": machine.user_namespaces.why or "files can be mapped",
        }
        told.info["config"] = json.dumps(info)
    return told


def configuration() -> cri.RuntimeConfigResponse:
    """Which cgroup driver the kubelet shall use."""
    return cri.RuntimeConfigResponse(linux=cri.LinuxRuntimeConfiguration(cgroup_driver=cri.CGROUPFS))


@cache
def _recursive_read_only() -> bool:
    """mount_setattr(2) came with Linux 5.12."""
    major, minor = Path("/proc/sys/kernel/osrelease").read_text().split(".")[:2]
    return (int(major), int(minor)) >= (5, 12)
