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

    name: Annotated[str | None, Wire(1, required=True)] = None
    image: Annotated[str | None, Wire(2)] = None
    command: Annotated[list[str] | None, Wire(3)] = None
    args: Annotated[list[str] | None, Wire(4)] = None
    workingDir: Annotated[str | None, Wire(5)] = None
    ports: Annotated[list[ContainerPort] | None, Wire(6, keys=("containerPort", "protocol"))] = None
    envFrom: Annotated[list[EnvFromSource] | None, Wire(19)] = None
    env: Annotated[list[EnvVar] | None, Wire(7, keys=("name",))] = None
    resources: Annotated[ResourceRequirements | None, Wire(8)] = None
    resizePolicy: Annotated[list[ContainerResizePolicy] | None, Wire(23)] = None
    restartPolicy: Annotated[str | None, Wire(24)] = None
    restartPolicyRules: Annotated[list[ContainerRestartRule] | None, Wire(25)] = None
    volumeMounts: Annotated[list[VolumeMount] | None, Wire(9, keys=("mountPath",))] = None
    volumeDevices: Annotated[list[VolumeDevice] | None, Wire(21, keys=("devicePath",))] = None
    livenessProbe: Annotated[Probe | None, Wire(10)] = None
    readinessProbe: Annotated[Probe | None, Wire(11)] = None
    startupProbe: Annotated[Probe | None, Wire(22)] = None
    lifecycle: Annotated[Lifecycle | None, Wire(12)] = None
    terminationMessagePath: Annotated[str | None, Wire(13)] = None
    terminationMessagePolicy: Annotated[str | None, Wire(20)] = None
    imagePullPolicy: Annotated[str | None, Wire(14)] = None
    securityContext: Annotated[SecurityContext | None, Wire(15)] = None
    stdin: Annotated[bool | None, Wire(16)] = None
    stdinOnce: Annotated[bool | None, Wire(17)] = None
    tty: Annotated[bool | None, Wire(18)] = None


class ContainerPort(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1)] = None
    hostPort: Annotated[int | None, Wire(2)] = None
    containerPort: Annotated[int | None, Wire(3, required=True)] = None
    protocol: Annotated[str | None, Wire(4)] = None
    hostIP: Annotated[str | None, Wire(5)] = None


class EnvFromSource(Part, frozen=True, kw_only=True):
    prefix: Annotated[str | None, Wire(1)] = None
    configMapRef: Annotated[ConfigMapEnvSource | None, Wire(2)] = None
    secretRef: Annotated[SecretEnvSource | None, Wire(3)] = None


class ConfigMapEnvSource(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, within=1)] = None
    optional: Annotated[bool | None, Wire(2, zero_counts=True)] = None


class SecretEnvSource(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, within=1)] = None
    optional: Annotated[bool | None, Wire(2, zero_counts=True)] = None


class EnvVar(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None
    value: Annotated[str | None, Wire(2)] = None
    valueFrom: Annotated[EnvVarSource | None, Wire(3)] = None


class EnvVarSource(Part, frozen=True, kw_only=True):
    fieldRef: Annotated[ObjectFieldSelector | None, Wire(1)] = None
    resourceFieldRef: Annotated[ResourceFieldSelector | None, Wire(2)] = None
    configMapKeyRef: Annotated[ConfigMapKeySelector | None, Wire(3)] = None
    secretKeyRef: Annotated[SecretKeySelector | None, Wire(4)] = None
    fileKeyRef: Annotated[FileKeySelector | None, Wire(5)] = None


class FileKeySelector(Part, frozen=True, kw_only=True):
    volumeName: Annotated[str | None, Wire(1, required=True)] = None
    path: Annotated[str | None, Wire(2, required=True)] = None
    key: Annotated[str | None, Wire(3, required=True)] = None
    optional: Annotated[bool | None, Wire(4, zero_counts=True)] = None


class ContainerResizePolicy(Part, frozen=True, kw_only=True):
    resourceName: Annotated[str | None, Wire(1, required=True)] = None
    restartPolicy: Annotated[str | None, Wire(2, required=True)] = None


class ContainerRestartRule(Part, frozen=True, kw_only=True):
    action: Annotated[str | None, Wire(1)] = None
    exitCodes: Annotated[ContainerRestartRuleOnExitCodes | None, Wire(2)] = None


class ContainerRestartRuleOnExitCodes(Part, frozen=True, kw_only=True):
    operator: Annotated[str | None, Wire(1)] = None
    values: Annotated[list[int] | None, Wire(2, is_set=True)] = None


class VolumeMount(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None
    readOnly: Annotated[bool | None, Wire(2)] = None
    recursiveReadOnly: Annotated[str | None, Wire(7)] = None
    mountPath: Annotated[str | None, Wire(3, required=True)] = None
    subPath: Annotated[str | None, Wire(4)] = None
    mountPropagation: Annotated[str | None, Wire(5)] = None
    subPathExpr: Annotated[str | None, Wire(6)] = None
    bindMountOptions: Annotated[list[str] | None, Wire(8, is_set=True)] = None


class VolumeDevice(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None
    devicePath: Annotated[str | None, Wire(2, required=True)] = None


class Probe(Part, frozen=True, kw_only=True):
    exec: Annotated[ExecAction | None, Wire(1, within=1)] = None
    httpGet: Annotated[HTTPGetAction | None, Wire(2, within=1)] = None
    tcpSocket: Annotated[TCPSocketAction | None, Wire(3, within=1)] = None
    grpc: Annotated[GRPCAction | None, Wire(4, within=1)] = None
    initialDelaySeconds: Annotated[int | None, Wire(2)] = None
    timeoutSeconds: Annotated[int | None, Wire(3)] = None
    periodSeconds: Annotated[int | None, Wire(4)] = None
    successThreshold: Annotated[int | None, Wire(5)] = None
    failureThreshold: Annotated[int | None, Wire(6)] = None
    terminationGracePeriodSeconds: Annotated[int | None, Wire(7, zero_counts=True)] = None


class ExecAction(Part, frozen=True, kw_only=True):
    command: Annotated[list[str] | None, Wire(1)] = None


class HTTPGetAction(Part, frozen=True, kw_only=True):
    path: Annotated[str | None, Wire(1)] = None
    port: Annotated[IntOrString | None, Wire(2, required=True)] = None
    host: Annotated[str | None, Wire(3)] = None
    scheme: Annotated[str | None, Wire(4)] = None
    httpHeaders: Annotated[list[HTTPHeader] | None, Wire(5)] = None
    protocol: Annotated[str | None, Wire(6)] = None


class HTTPHeader(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None
    value: Annotated[str | None, Wire(2, required=True)] = None


class TCPSocketAction(Part, frozen=True, kw_only=True):
    port: Annotated[IntOrString | None, Wire(1, required=True)] = None
    host: Annotated[str | None, Wire(2)] = None


class GRPCAction(Part, frozen=True, kw_only=True):
    port: Annotated[int | None, Wire(1, required=True)] = None
    service: Annotated[str | None, Wire(2)] = None
    mode: Annotated[str | None, Wire(3)] = None


class Lifecycle(Part, frozen=True, kw_only=True):
    postStart: Annotated[LifecycleHandler | None, Wire(1)] = None
    preStop: Annotated[LifecycleHandler | None, Wire(2)] = None
    stopSignal: Annotated[str | None, Wire(3)] = None


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
    procMount: Annotated[str | None, Wire(9)] = None
    seccompProfile: Annotated[SeccompProfile | None, Wire(11)] = None
    appArmorProfile: Annotated[AppArmorProfile | None, Wire(12)] = None


class Capabilities(Part, frozen=True, kw_only=True):
    add: Annotated[list[str] | None, Wire(1)] = None
    drop: Annotated[list[str] | None, Wire(2)] = None


class SELinuxOptions(Part, frozen=True, kw_only=True):
    user: Annotated[str | None, Wire(1)] = None
    role: Annotated[str | None, Wire(2)] = None
    type: Annotated[str | None, Wire(3)] = None
    level: Annotated[str | None, Wire(4)] = None


class WindowsSecurityContextOptions(Part, frozen=True, kw_only=True):
    gmsaCredentialSpecName: Annotated[str | None, Wire(1)] = None
    gmsaCredentialSpec: Annotated[str | None, Wire(2)] = None
    runAsUserName: Annotated[str | None, Wire(3)] = None
    hostProcess: Annotated[bool | None, Wire(4, zero_counts=True)] = None


class SeccompProfile(Part, frozen=True, kw_only=True):
    type: Annotated[str | None, Wire(1, required=True)] = None
    localhostProfile: Annotated[str | None, Wire(2)] = None


class AppArmorProfile(Part, frozen=True, kw_only=True):
    type: Annotated[str | None, Wire(1, required=True)] = None
    localhostProfile: Annotated[str | None, Wire(2)] = None


class EphemeralContainer(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, within=1, required=True)] = None
    image: Annotated[str | None, Wire(2, within=1)] = None
    command: Annotated[list[str] | None, Wire(3, within=1)] = None
    args: Annotated[list[str] | None, Wire(4, within=1)] = None
    workingDir: Annotated[str | None, Wire(5, within=1)] = None
    ports: Annotated[list[ContainerPort] | None, Wire(6, within=1, keys=("containerPort", "protocol"))] = None
    envFrom: Annotated[list[EnvFromSource] | None, Wire(19, within=1)] = None
    env: Annotated[list[EnvVar] | None, Wire(7, within=1, keys=("name",))] = None
    resources: Annotated[ResourceRequirements | None, Wire(8, within=1)] = None
    resizePolicy: Annotated[list[ContainerResizePolicy] | None, Wire(23, within=1)] = None
    restartPolicy: Annotated[str | None, Wire(24, within=1)] = None
    restartPolicyRules: Annotated[list[ContainerRestartRule] | None, Wire(25, within=1)] = None
    volumeMounts: Annotated[list[VolumeMount] | None, Wire(9, within=1, keys=("mountPath",))] = None
    volumeDevices: Annotated[list[VolumeDevice] | None, Wire(21, within=1, keys=("devicePath",))] = None
    livenessProbe: Annotated[Probe | None, Wire(10, within=1)] = None
    readinessProbe: Annotated[Probe | None, Wire(11, within=1)] = None
    startupProbe: Annotated[Probe | None, Wire(22, within=1)] = None
    lifecycle: Annotated[Lifecycle | None, Wire(12, within=1)] = None
    terminationMessagePath: Annotated[str | None, Wire(13, within=1)] = None
    terminationMessagePolicy: Annotated[str | None, Wire(20, within=1)] = None
    imagePullPolicy: Annotated[str | None, Wire(14, within=1)] = None
    securityContext: Annotated[SecurityContext | None, Wire(15, within=1)] = None
    stdin: Annotated[bool | None, Wire(16, within=1)] = None
    stdinOnce: Annotated[bool | None, Wire(17, within=1)] = None
    tty: Annotated[bool | None, Wire(18, within=1)] = None
    targetContainerName: Annotated[str | None, Wire(2)] = None
