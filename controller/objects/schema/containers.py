"""Containers of a pod: environment, probes, hooks, security."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import IntOrString, Part, Wire
from controller.objects.schema.references import (
    ConfigMapKeySelector,
    ObjectFieldSelector,
    ResourceFieldSelector,
    ResourceRequirements,
    SecretKeySelector,
)


class Container(Part, frozen=True, kw_only=True):
    """A container: an image, a command, and what it may use."""

    name: Annotated[str, Wire(1, required=True)] = ""
    image: Annotated[str, Wire(2)] = ""
    command: Annotated[tuple[str, ...], Wire(3)] = ()
    args: Annotated[tuple[str, ...], Wire(4)] = ()
    workingDir: Annotated[str, Wire(5)] = ""
    ports: Annotated[tuple[ContainerPort, ...], Wire(6, keys=("containerPort", "protocol"))] = ()
    envFrom: Annotated[tuple[EnvFromSource, ...], Wire(19)] = ()
    env: Annotated[tuple[EnvVar, ...], Wire(7, keys=("name",))] = ()
    resources: Annotated[ResourceRequirements, Wire(8)] = ResourceRequirements()
    resizePolicy: Annotated[tuple[ContainerResizePolicy, ...], Wire(23)] = ()
    restartPolicy: Annotated[str, Wire(24)] = ""
    restartPolicyRules: Annotated[tuple[ContainerRestartRule, ...], Wire(25)] = ()
    volumeMounts: Annotated[tuple[VolumeMount, ...], Wire(9, keys=("mountPath",))] = ()
    volumeDevices: Annotated[tuple[VolumeDevice, ...], Wire(21, keys=("devicePath",))] = ()
    livenessProbe: Annotated[Probe | None, Wire(10)] = None
    readinessProbe: Annotated[Probe | None, Wire(11)] = None
    startupProbe: Annotated[Probe | None, Wire(22)] = None
    lifecycle: Annotated[Lifecycle | None, Wire(12)] = None
    terminationMessagePath: Annotated[str, Wire(13)] = ""
    terminationMessagePolicy: Annotated[str, Wire(20)] = ""
    imagePullPolicy: Annotated[str, Wire(14)] = ""
    securityContext: Annotated[SecurityContext | None, Wire(15)] = None
    stdin: Annotated[bool, Wire(16)] = False
    stdinOnce: Annotated[bool, Wire(17)] = False
    tty: Annotated[bool, Wire(18)] = False


class ContainerPort(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1)] = ""
    hostPort: Annotated[int, Wire(2)] = 0
    containerPort: Annotated[int, Wire(3, required=True)] = 0
    protocol: Annotated[str, Wire(4)] = ""
    hostIP: Annotated[str, Wire(5)] = ""


class EnvFromSource(Part, frozen=True, kw_only=True):
    prefix: Annotated[str, Wire(1)] = ""
    configMapRef: Annotated[ConfigMapEnvSource | None, Wire(2)] = None
    secretRef: Annotated[SecretEnvSource | None, Wire(3)] = None


class ConfigMapEnvSource(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, within=1)] = ""
    optional: Annotated[bool | None, Wire(2, zero_counts=True)] = None


class SecretEnvSource(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, within=1)] = ""
    optional: Annotated[bool | None, Wire(2, zero_counts=True)] = None


class EnvVar(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""
    value: Annotated[str, Wire(2)] = ""
    valueFrom: Annotated[EnvVarSource | None, Wire(3)] = None


class EnvVarSource(Part, frozen=True, kw_only=True):
    fieldRef: Annotated[ObjectFieldSelector | None, Wire(1)] = None
    resourceFieldRef: Annotated[ResourceFieldSelector | None, Wire(2)] = None
    configMapKeyRef: Annotated[ConfigMapKeySelector | None, Wire(3)] = None
    secretKeyRef: Annotated[SecretKeySelector | None, Wire(4)] = None
    fileKeyRef: Annotated[FileKeySelector | None, Wire(5)] = None


class FileKeySelector(Part, frozen=True, kw_only=True):
    volumeName: Annotated[str, Wire(1, required=True)] = ""
    path: Annotated[str, Wire(2, required=True)] = ""
    key: Annotated[str, Wire(3, required=True)] = ""
    optional: Annotated[bool | None, Wire(4, zero_counts=True)] = None


class ContainerResizePolicy(Part, frozen=True, kw_only=True):
    resourceName: Annotated[str, Wire(1, required=True)] = ""
    restartPolicy: Annotated[str, Wire(2, required=True)] = ""


class ContainerRestartRule(Part, frozen=True, kw_only=True):
    action: Annotated[str, Wire(1)] = ""
    exitCodes: Annotated[ContainerRestartRuleOnExitCodes | None, Wire(2)] = None


class ContainerRestartRuleOnExitCodes(Part, frozen=True, kw_only=True):
    operator: Annotated[str, Wire(1)] = ""
    values: Annotated[tuple[int, ...], Wire(2, is_set=True)] = ()


class VolumeMount(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""
    readOnly: Annotated[bool, Wire(2)] = False
    recursiveReadOnly: Annotated[str, Wire(7)] = ""
    mountPath: Annotated[str, Wire(3, required=True)] = ""
    subPath: Annotated[str, Wire(4)] = ""
    mountPropagation: Annotated[str, Wire(5)] = ""
    subPathExpr: Annotated[str, Wire(6)] = ""
    bindMountOptions: Annotated[tuple[str, ...], Wire(8, is_set=True)] = ()


class VolumeDevice(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""
    devicePath: Annotated[str, Wire(2, required=True)] = ""


class Probe(Part, frozen=True, kw_only=True):
    exec: Annotated[ExecAction | None, Wire(1, within=1)] = None
    httpGet: Annotated[HTTPGetAction | None, Wire(2, within=1)] = None
    tcpSocket: Annotated[TCPSocketAction | None, Wire(3, within=1)] = None
    grpc: Annotated[GRPCAction | None, Wire(4, within=1)] = None
    initialDelaySeconds: Annotated[int, Wire(2)] = 0
    timeoutSeconds: Annotated[int, Wire(3)] = 0
    periodSeconds: Annotated[int, Wire(4)] = 0
    successThreshold: Annotated[int, Wire(5)] = 0
    failureThreshold: Annotated[int, Wire(6)] = 0
    terminationGracePeriodSeconds: Annotated[int | None, Wire(7, zero_counts=True)] = None


class ExecAction(Part, frozen=True, kw_only=True):
    command: Annotated[tuple[str, ...], Wire(1)] = ()


class HTTPGetAction(Part, frozen=True, kw_only=True):
    path: Annotated[str, Wire(1)] = ""
    port: Annotated[IntOrString, Wire(2, required=True)] = 0
    host: Annotated[str, Wire(3)] = ""
    scheme: Annotated[str, Wire(4)] = ""
    httpHeaders: Annotated[tuple[HTTPHeader, ...], Wire(5)] = ()
    protocol: Annotated[str, Wire(6)] = ""


class HTTPHeader(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""
    value: Annotated[str, Wire(2, required=True)] = ""


class TCPSocketAction(Part, frozen=True, kw_only=True):
    port: Annotated[IntOrString, Wire(1, required=True)] = 0
    host: Annotated[str, Wire(2)] = ""


class GRPCAction(Part, frozen=True, kw_only=True):
    port: Annotated[int, Wire(1, required=True)] = 0
    service: Annotated[str, Wire(2)] = ""
    mode: Annotated[str, Wire(3)] = ""


class Lifecycle(Part, frozen=True, kw_only=True):
    postStart: Annotated[LifecycleHandler | None, Wire(1)] = None
    preStop: Annotated[LifecycleHandler | None, Wire(2)] = None
    stopSignal: Annotated[str, Wire(3)] = ""


class LifecycleHandler(Part, frozen=True, kw_only=True):
    exec: Annotated[ExecAction | None, Wire(1)] = None
    httpGet: Annotated[HTTPGetAction | None, Wire(2)] = None
    tcpSocket: Annotated[TCPSocketAction | None, Wire(3)] = None
    sleep: Annotated[SleepAction | None, Wire(4)] = None


class SleepAction(Part, frozen=True, kw_only=True):
    seconds: Annotated[int | None, Wire(1, required=True, zero_counts=True)] = None


class SecurityContext(Part, frozen=True, kw_only=True):
    capabilities: Annotated[Capabilities | None, Wire(1)] = None
    privileged: Annotated[bool | None, Wire(2, zero_counts=True)] = None
    seLinuxOptions: Annotated[SELinuxOptions | None, Wire(3)] = None
    windowsOptions: Annotated[WindowsSecurityContextOptions | None, Wire(10)] = None
    runAsUser: Annotated[int | None, Wire(4, zero_counts=True)] = None
    runAsGroup: Annotated[int | None, Wire(8, zero_counts=True)] = None
    runAsNonRoot: Annotated[bool | None, Wire(5, zero_counts=True)] = None
    readOnlyRootFilesystem: Annotated[bool | None, Wire(6, zero_counts=True)] = None
    allowPrivilegeEscalation: Annotated[bool | None, Wire(7, zero_counts=True)] = None
    procMount: Annotated[str, Wire(9)] = ""
    seccompProfile: Annotated[SeccompProfile | None, Wire(11)] = None
    appArmorProfile: Annotated[AppArmorProfile | None, Wire(12)] = None


class Capabilities(Part, frozen=True, kw_only=True):
    add: Annotated[tuple[str, ...], Wire(1)] = ()
    drop: Annotated[tuple[str, ...], Wire(2)] = ()


class SELinuxOptions(Part, frozen=True, kw_only=True):
    user: Annotated[str, Wire(1)] = ""
    role: Annotated[str, Wire(2)] = ""
    type: Annotated[str, Wire(3)] = ""
    level: Annotated[str, Wire(4)] = ""


class WindowsSecurityContextOptions(Part, frozen=True, kw_only=True):
    gmsaCredentialSpecName: Annotated[str, Wire(1)] = ""
    gmsaCredentialSpec: Annotated[str, Wire(2)] = ""
    runAsUserName: Annotated[str, Wire(3)] = ""
    hostProcess: Annotated[bool | None, Wire(4, zero_counts=True)] = None


class SeccompProfile(Part, frozen=True, kw_only=True):
    type: Annotated[str, Wire(1, required=True)] = ""
    localhostProfile: Annotated[str, Wire(2)] = ""


class AppArmorProfile(Part, frozen=True, kw_only=True):
    type: Annotated[str, Wire(1, required=True)] = ""
    localhostProfile: Annotated[str, Wire(2)] = ""


class EphemeralContainer(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, within=1, required=True)] = ""
    image: Annotated[str, Wire(2, within=1)] = ""
    command: Annotated[tuple[str, ...], Wire(3, within=1)] = ()
    args: Annotated[tuple[str, ...], Wire(4, within=1)] = ()
    workingDir: Annotated[str, Wire(5, within=1)] = ""
    ports: Annotated[tuple[ContainerPort, ...], Wire(6, within=1, keys=("containerPort", "protocol"))] = ()
    envFrom: Annotated[tuple[EnvFromSource, ...], Wire(19, within=1)] = ()
    env: Annotated[tuple[EnvVar, ...], Wire(7, within=1, keys=("name",))] = ()
    resources: Annotated[ResourceRequirements, Wire(8, within=1)] = ResourceRequirements()
    resizePolicy: Annotated[tuple[ContainerResizePolicy, ...], Wire(23, within=1)] = ()
    restartPolicy: Annotated[str, Wire(24, within=1)] = ""
    restartPolicyRules: Annotated[tuple[ContainerRestartRule, ...], Wire(25, within=1)] = ()
    volumeMounts: Annotated[tuple[VolumeMount, ...], Wire(9, within=1, keys=("mountPath",))] = ()
    volumeDevices: Annotated[tuple[VolumeDevice, ...], Wire(21, within=1, keys=("devicePath",))] = ()
    livenessProbe: Annotated[Probe | None, Wire(10, within=1)] = None
    readinessProbe: Annotated[Probe | None, Wire(11, within=1)] = None
    startupProbe: Annotated[Probe | None, Wire(22, within=1)] = None
    lifecycle: Annotated[Lifecycle | None, Wire(12, within=1)] = None
    terminationMessagePath: Annotated[str, Wire(13, within=1)] = ""
    terminationMessagePolicy: Annotated[str, Wire(20, within=1)] = ""
    imagePullPolicy: Annotated[str, Wire(14, within=1)] = ""
    securityContext: Annotated[SecurityContext | None, Wire(15, within=1)] = None
    stdin: Annotated[bool, Wire(16, within=1)] = False
    stdinOnce: Annotated[bool, Wire(17, within=1)] = False
    tty: Annotated[bool, Wire(18, within=1)] = False
    targetContainerName: Annotated[str, Wire(2)] = ""


# Whatever is started in a pod.
AnyContainer = Container | EphemeralContainer
