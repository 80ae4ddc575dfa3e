"""A container's variables, and fields and resources of its pod as text. Pure."""

from __future__ import annotations

import math

from controller.choice.quantity import quantity
from controller.objects.fields import Json
from controller.pods.run import PodRun


def environment(pod: Json, container: Json, run: PodRun) -> dict[str, str]:
    """The container's variables, with $(NAME) of earlier ones expanded and the downward API filled in."""
    variables: dict[str, str] = {}
    for entry in container.get("env") or ():
        source: Json = entry.get("valueFrom") or {}
        if "fieldRef" in source:
            variables[entry["name"]] = field_text(pod, run, source["fieldRef"]["fieldPath"])
        elif "resourceFieldRef" in source:
            variables[entry["name"]] = resource_text(pod["spec"], container, source["resourceFieldRef"])
        else:
            variables[entry["name"]] = expand(entry.get("value") or "", variables)
    return variables


def expand(text: str, variables: dict[str, str]) -> str:
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


def field_text(pod: Json, run: PodRun, path: str) -> str:
    """A field of the pod by its path, as text."""
    metadata, spec = pod["metadata"], pod["spec"]
    if path.startswith(("metadata.labels[", "metadata.annotations[")):
        kind, _, rest = path.removeprefix("metadata.").partition("['")
        return (metadata.get(kind) or {}).get(rest.removesuffix("']"), "")
    return {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": run.cell,
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": run.cell_address,
        "status.hostIPs": run.cell_address,
        "status.podIP": run.addresses[0] if run.addresses else "",
        "status.podIPs": ",".join(run.addresses),
    }[path]


def resource_text(spec: Json, container: Json, reference: Json) -> str:
    """A request or limit of a container, as text."""
    kind, name = reference["resource"].split(".")
    wanted = reference.get("containerName") or container["name"]
    for one in (*(spec.get("initContainers") or ()), *spec["containers"]):
        if one["name"] == wanted:
            amount = ((one.get("resources") or {}).get(kind) or {}).get(name, 0)
            # A divisor of 0 counts as 1, the default.
            return str(math.ceil(quantity(amount) / (quantity(reference.get("divisor", 1)) or 1)))
    return "0"
