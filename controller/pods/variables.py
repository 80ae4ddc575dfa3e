"""The environment of a container: which variables there are, which of two with one name wins, what each is. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import msgspec

from controller.choice.quantity import quantity
from controller.objects.fields import Json
from controller.objects.schema.containers import AnyContainer, EnvFromSource, EnvVarSource
from controller.objects.schema.pods import Pod, PodSpec
from controller.objects.schema.references import ResourceFieldSelector, SecretKeySelector
from controller.pods import config_data
from controller.pods.config_data import CONFIG_MAPS, SECRETS, SINGULAR, Lookup, Missing
from controller.pods.run import PodRun


class VariableSources(msgspec.Struct, frozen=True):
    """What variables come from beside their pod: objects, the Services of a namespace, and where pods find this API
    ("": none can reach it).
    """

    lookup: Lookup
    services: Callable[[str], Iterable[Json]]
    api_host: str = ""
    api_port: int = 0


def environment(pod: Pod, container: AnyContainer, run: PodRun, sources: VariableSources) -> dict[str, str]:
    """The container's variables, but for those of its image; the later one wins. Raises Missing.

    First those by which it finds the Services of its namespace (unless it wants no links) and this API, then those of
    whole objects, then its own, in which $(NAME) stands for one before it.
    """
    namespace = pod.metadata.namespace
    variables: dict[str, str] = {}
    if pod.spec.enableServiceLinks is not False:
        variables |= service_links(sources.services(namespace))
    if sources.api_host:
        variables["KUBERNETES_SERVICE_HOST"] = sources.api_host
        variables["KUBERNETES_SERVICE_PORT"] = str(sources.api_port)
    for whole in container.envFrom:
        variables |= _of_objects(whole, namespace, sources.lookup)
    for entry in container.env:
        source = entry.valueFrom or EnvVarSource()
        if source.configMapKeyRef is not None or source.secretKeyRef is not None:
            value = _of_key(source, namespace, sources.lookup)
        elif source.fieldRef is not None:
            value = field_text(pod, run, source.fieldRef.fieldPath)
        elif source.resourceFieldRef is not None:
            value = resource_text(pod.spec, container, source.resourceFieldRef)
        else:
            value = expand(entry.value, variables)
        if value is not None:
            variables[entry.name] = value
    return variables


def _of_objects(source: EnvFromSource, namespace: str, lookup: Lookup) -> dict[str, str]:
    """A variable for each key of the objects that can be the name of one."""
    found: dict[str, str] = {}
    for reference, key, read in (
        (source.configMapRef, CONFIG_MAPS, config_data.config_map),
        (source.secretRef, SECRETS, config_data.secret),
    ):
        if reference is not None:
            held = read(config_data.found(lookup, key, namespace, reference.name, reference.optional))
            found |= {f"{source.prefix}{name}": _text(held[name]) for name in sorted(held) if name and "=" not in name}
    return found


def _of_key(source: EnvVarSource, namespace: str, lookup: Lookup) -> str | None:
    """The value of one key of an object; None where it may be absent, and is."""
    kind, read = (
        (CONFIG_MAPS, config_data.config_map) if source.configMapKeyRef is not None else (SECRETS, config_data.secret)
    )
    reference = source.configMapKeyRef or source.secretKeyRef or SecretKeySelector()
    name, key = reference.name, reference.key
    data = read(config_data.found(lookup, kind, namespace, name, reference.optional))
    if key in data:
        return _text(data[key])
    if reference.optional:
        return None
    raise Missing(f"couldn't find key {key} in {SINGULAR[kind].capitalize()} {namespace}/{name}")


def _text(value: bytes) -> str:
    # As it is: $(NAME) in what objects hold stands for nothing.
    return value.decode(errors="replace")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Kubernetes' $(NAME): unknown names stay as written, $$ is one dollar."""
    out: list[str] = []
    at = 0
    while at < len(text):
        if text[at] != "$" or at + 1 == len(text):
            out.append(text[at])
            at += 1
        elif text[at + 1] == "$":
            out.append("$")
            at += 2
        else:
            close = text.find(")", at) if text[at + 1] == "(" else -1
            if close < 0:
                out.append(text[at])
                at += 1
                continue
            whole = text[at : close + 1]
            out.append(variables.get(whole[2:-1], whole))
            at = close + 1
    return "".join(out)


def field_text(pod: Pod, run: PodRun, path: str) -> str:
    """A field of the pod by its path, as text."""
    metadata = pod.metadata
    if path.startswith(("metadata.labels[", "metadata.annotations[")):
        kind, _, rest = path.removeprefix("metadata.").partition("['")
        held = metadata.labels if kind == "labels" else metadata.annotations
        return held.get(rest.removesuffix("']"), "")
    return {
        "metadata.name": metadata.name,
        "metadata.namespace": metadata.namespace,
        "metadata.uid": metadata.uid,
        "spec.nodeName": run.cell,
        "spec.serviceAccountName": pod.spec.serviceAccountName,
        "status.hostIP": run.cell_address,
        "status.hostIPs": run.cell_address,
        "status.podIP": run.addresses[0] if run.addresses else "",
        "status.podIPs": ",".join(run.addresses),
    }[path]


def resource_text(spec: PodSpec, container: AnyContainer, reference: ResourceFieldSelector) -> str:
    """A request or limit of a container, as text."""
    kind, name = reference.resource.split(".")
    wanted = reference.containerName or container.name
    for one in (*spec.initContainers, *spec.containers):
        if one.name == wanted:
            held = one.resources.limits if kind == "limits" else one.resources.requests
            # A divisor of 0 counts as 1, the default.
            divisor = quantity(1 if reference.divisor is None else reference.divisor) or 1
            return str(math.ceil(quantity(held.get(name, 0)) / divisor))
    return "0"


def service_links(services: Iterable[Json]) -> dict[str, str]:
    """Service links: variables by which a container finds the Services of its namespace, as a kubelet makes them."""
    found: dict[str, str] = {}
    for service in services:
        spec: Json = service["spec"]
        address, ports = spec.get("clusterIP"), spec.get("ports") or ()
        if not ports or not address or address == "None" or spec.get("type") == "ExternalName":
            continue
        name = _variable(service["metadata"]["name"])
        found[f"{name}_SERVICE_HOST"] = address
        found[f"{name}_SERVICE_PORT"] = str(ports[0]["port"])
        for port in ports:
            if port.get("name"):
                found[f"{name}_SERVICE_PORT_{_variable(port['name'])}"] = str(port["port"])
        for index, port in enumerate(ports):
            protocol: str = port.get("protocol") or "TCP"
            end = f"{protocol.lower()}://{address}:{port['port']}"
            if index == 0:
                found[f"{name}_PORT"] = end
            prefix = f"{name}_PORT_{port['port']}_{protocol.upper()}"
            found[prefix] = end
            found[f"{prefix}_PROTO"] = protocol.lower()
            found[f"{prefix}_PORT"] = str(port["port"])
            found[f"{prefix}_ADDR"] = address
    return found


def _variable(name: str) -> str:
    return name.replace("-", "_").upper()
