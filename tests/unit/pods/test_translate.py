import stat
from typing import Any

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.objects.schema.pods import Pod
from controller.pods.defaults import with_defaults
from controller.pods.run import PodRun
from controller.pods.translate import container_config, empty_folders, resources, sandbox_config
from controller.pods.variables import VariableSources, environment, expand
from tests.support.typed_pods import container_of, pod_of


def admitted(container: dict[str, Any] | None = None, **spec: Any) -> Pod:
    manifest = with_defaults(
        {
            "metadata": {"name": "web", "namespace": "default", "labels": {"app": "x"}},
            "spec": {"containers": [{"name": "web", "image": "busybox", **(container or {})}], **spec},
        }
    )
    manifest["metadata"]["uid"] = "u-1"
    return pod_of(manifest)


RUN = PodRun(attempt=2, addresses=("10.8.0.3",), cell_address="10.8.0.2")
NOTHING = VariableSources(lookup=lambda kind, namespace, name: None, services=lambda namespace: ())


def test_the_sandbox_carries_the_pods_names_and_attempt() -> None:
    config = sandbox_config(admitted({"ports": [{"containerPort": 80, "hostPort": 8080}]}), RUN)
    assert (config.metadata.uid, config.metadata.attempt, config.hostname) == ("u-1", 2, "web")
    assert config.labels["io.kubernetes.pod.namespace"] == "default"
    assert config.labels["app"] == "x"
    assert (config.port_mappings[0].container_port, config.port_mappings[0].host_port) == (80, 8080)


def test_host_namespaces_become_node_mode() -> None:
    option = sandbox_config(admitted(hostNetwork=True, hostPID=True), RUN).linux.security_context.namespace_options
    assert (option.network, option.pid, option.ipc) == (cri.NODE, cri.NODE, cri.POD)


def test_cpu_and_memory_are_computed_as_the_kubelet_does() -> None:
    given = resources(
        container_of({"resources": {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}})
    )
    assert (given.cpu_shares, given.cpu_quota, given.cpu_period) == (256, 50_000, 100_000)
    assert given.memory_limit_in_bytes == 64 * 1024 * 1024
    assert resources(container_of({})).cpu_shares == 2


def test_variables_know_the_downward_api_and_each_other() -> None:
    env = [
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        {"name": "URL", "value": "http://$(IP):80/$(NOPE)/$$(IP)"},
    ]
    pod = admitted({"env": env, "resources": {"limits": {"memory": "64Mi"}}})
    variables = environment(pod, pod.spec.containers[0], RUN, NOTHING)
    assert variables == {"IP": "10.8.0.3", "APP": "x", "MEM": "64", "URL": "http://10.8.0.3:80/$(NOPE)/$(IP)"}


def test_expansion_leaves_what_is_no_reference() -> None:
    assert expand("a$b $(", {}) == "a$b $("


def test_users_of_the_pod_yield_to_those_of_the_container() -> None:
    pod = admitted(
        {"securityContext": {"runAsUser": 7, "allowPrivilegeEscalation": False}},
        securityContext={"runAsUser": 5, "runAsGroup": 6, "fsGroup": 9},
    )
    context = container_config(pod, pod.spec.containers[0], {}, "sha256:1", 0).linux.security_context
    assert (context.run_as_user.value, context.run_as_group.value) == (7, 6)
    assert list(context.supplemental_groups) == [9]
    assert context.no_new_privs


def test_volumes_are_folders_of_the_cell() -> None:
    pod = admitted(
        {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "etc", "mountPath": "/h", "readOnly": True}]},
        volumes=[{"name": "tmp", "emptyDir": {}}, {"name": "etc", "hostPath": {"path": "/etc"}}],
    )
    config = container_config(pod, pod.spec.containers[0], {}, "sha256:1", 3)
    mounts = {mount.container_path: mount for mount in config.mounts}
    assert mounts["/tmp"].host_path == "/var/lib/chinampa/pods/u-1/volumes/tmp"
    assert mounts["/h"].readonly
    assert mounts["/dev/termination-log"].host_path == "/var/lib/chinampa/pods/u-1/containers/web/3/termination-log"
    assert (config.metadata.attempt, config.log_path) == (3, "web/3.log")
    assert [(folder.name, folder.mode) for folder in empty_folders(pod.spec)] == [("tmp", stat.S_IFDIR | 0o777)]


@pytest.mark.parametrize(
    ("volume", "limits", "size"),
    [
        ({}, ["64Mi"], None),
        ({"medium": "Memory"}, [None], 0),
        ({"medium": "Memory"}, ["64Mi", None], 0),
        ({"medium": "Memory"}, ["64Mi", "32Mi"], 96 << 20),
        ({"medium": "Memory", "sizeLimit": "10Mi"}, [None], 10 << 20),
        ({"medium": "Memory", "sizeLimit": "1Gi"}, ["64Mi"], 64 << 20),
    ],
)
def test_a_volume_in_memory_is_within_its_limit_and_that_of_the_pod(
    volume: dict[str, str], limits: list[str | None], size: int | None
) -> None:
    containers = [
        {"name": f"c-{number}", "image": "b", "resources": {"limits": {"memory": limit}} if limit else {}}
        for number, limit in enumerate(limits)
    ]
    spec = admitted(containers=containers, volumes=[{"name": "scratch", "emptyDir": volume}]).spec
    assert [one.memory for one in empty_folders(spec)] == [size]


def test_the_part_of_a_volume_is_told_apart_from_its_path() -> None:
    volumes = [{"name": "tmp", "emptyDir": {}}, {"name": "host", "hostPath": {"path": "/data"}}]
    mounts = [
        {"name": "tmp", "mountPath": "/a", "subPath": "deep/er"},
        {"name": "tmp", "mountPath": "/b", "subPathExpr": "$(WHO)/log"},
        {"name": "host", "mountPath": "/c", "subPath": "../etc"},
        {"name": "host", "mountPath": "/d"},
    ]
    pod = admitted({"volumeMounts": mounts}, volumes=volumes)
    config = container_config(pod, pod.spec.containers[0], {"WHO": "../me"}, "sha256:1", 0)
    shown = [(mount.container_path, mount.host_path, mount.image_sub_path) for mount in config.mounts[:4]]
    assert shown == [
        ("/a", "/var/lib/chinampa/pods/u-1/volumes/tmp", "deep/er"),
        ("/b", "/var/lib/chinampa/pods/u-1/volumes/tmp", "../me/log"),
        ("/c", "/data", "../etc"),
        ("/d", "/data", ""),
    ]


def test_selinux_options_of_container_or_pod_go_along() -> None:
    pod = admitted(
        {"securityContext": {"seLinuxOptions": {"type": "own"}}}, securityContext={"seLinuxOptions": {"level": "s0"}}
    )
    assert sandbox_config(pod, RUN).linux.security_context.selinux_options.level == "s0"
    config = container_config(pod, pod.spec.containers[0], {}, "sha256:1", 0)
    assert config.linux.security_context.selinux_options == cri.SELinuxOption(type="own")
