"""Service links: variables by which a container finds the Services of its namespace, as a kubelet makes them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from controller.objects.fields import Json


def variables(services: Iterable[Json]) -> dict[str, str]:
    """The variables of these Services; those that have no address of their own have none."""
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
