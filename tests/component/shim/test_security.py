"""Security contexts through the shim: what a kubelet asks of the worker holds in the cell."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from tests.support.cri_security import PROFILE, Context, caps, mask
from tests.support.shim import RunningShim

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="cells of the local cloud need root"),
    pytest.mark.timeout(300),
]
CAPABILITIES = "grep {} /proc/self/status | tr -s '\\t' ' ' | cut -d ' ' -f 2"
GROUPS = "for each in $(id -G); do echo $each; done | sort -n | tr '\\n' ' '"
ROWS = (
    (caps(drop="ALL", add="KILL"), CAPABILITIES.format("CapEff"), mask(("KILL",))),
    (
        caps(ambient="NET_BIND_SERVICE", run_as_user=cri.Int64Value(value=1001)),
        CAPABILITIES.format("CapAmb"),
        mask(("NET_BIND_SERVICE",)),
    ),
    (Context(privileged=True), "mkdir /m && mount -t tmpfs none /m && echo mounted", "mounted"),
    (Context(readonly_rootfs=True), "touch /x 2>/dev/null || echo refused", "refused"),
    (
        Context(
            run_as_user=cri.Int64Value(value=1001),
            run_as_group=cri.Int64Value(value=5005),
            supplemental_groups=[7],
            supplemental_groups_policy=cri.Strict,
        ),
        f"id -u; id -g; {GROUPS}",
        "1001 5005 7 5005",
    ),
    (Context(no_new_privs=True), CAPABILITIES.format("NoNewPrivs"), "1"),
    (
        Context(seccomp=PROFILE(profile_type=PROFILE.RuntimeDefault)),
        CAPABILITIES.format("Seccomp:"),
        "2",
    ),
    (Context(masked_paths=["/etc/passwd"], readonly_paths=["/root"]), "wc -c < /etc/passwd", "0"),
)


async def said(shim: RunningShim, sandbox: str, config: cri.PodSandboxConfig, context: Context, script: str) -> str:
    """What a container of that context says to its end."""
    attempt = len((await call(shim.runtime.ListContainers, cri.ListContainersRequest(), deadline=5)).containers)
    wanted = cri.ContainerConfig(linux=cri.LinuxContainerConfig(security_context=context))
    container = await shim.create(sandbox, config, "sh", "-c", script, attempt=attempt, more=wanted)
    await shim.start(container)
    log = Path(config.log_directory) / f"c/{attempt}.log"
    async with asyncio.timeout(20):
        while (await shim.status(container)).state != cri.CONTAINER_EXITED or not log.exists() or not log.read_text():
            await asyncio.sleep(0.02)
    return " ".join(line.split(" ", 3)[3] for line in log.read_text().splitlines()).strip()


async def test_security_contexts_do_in_the_cell_what_they_say(shim: RunningShim, tmp_path: Path) -> None:
    config = shim.config("contexts")
    config.linux.sysctls["net.ipv4.ip_local_port_range"] = "20000 30000"
    sandbox = await shim.run(config)
    for context, script, wanted in ROWS:
        assert (await said(shim, sandbox, config, context, script)).split() == wanted.split(), script
    found = await said(shim, sandbox, config, Context(), "cat /proc/sys/net/ipv4/ip_local_port_range")
    assert found.split() == ["20000", "30000"]

    # A profile of the worker goes with the container.
    profile = tmp_path / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    local = PROFILE(profile_type=PROFILE.Localhost, localhost_ref=str(profile))
    script = "mkdir /x 2>/dev/null && echo made || echo refused"
    older = Context(seccomp_profile_path=f"localhost/{profile}")
    for context in (Context(seccomp=local), older):
        assert await said(shim, sandbox, config, context, script) == "refused"

    without_effect = Context(selinux_options=cri.SELinuxOption(type="spc_t"))
    assert await said(shim, sandbox, config, without_effect, "echo runs") == "runs"

    with pytest.raises(Fault, match="capability FLY") as caught:
        await said(shim, sandbox, config, caps(add="FLY"), "true")
    assert caught.value.kind is Kind.INVALID


async def test_a_pod_that_asks_for_the_machines_namespaces_gets_those_of_its_cell(shim: RunningShim) -> None:
    config = shim.config("namespaces")
    options = config.linux.security_context.namespace_options
    options.network, options.pid, options.ipc = cri.NODE, cri.NODE, cri.NODE
    sandbox = await shim.run(config)
    # Those of the cell's first process, and none of the worker's.
    script = "for one in self 1; do for each in net pid ipc; do readlink /proc/$one/ns/$each; done; done | sort -u"
    context = Context(namespace_options=options, privileged=True)
    assert len((await said(shim, sandbox, config, context, script)).split()) == 3
    for kind in ("net", "ipc", "pid"):
        there = await said(shim, sandbox, config, context, f"readlink /proc/self/ns/{kind}")
        assert there != str(Path(f"/proc/self/ns/{kind}").readlink())
