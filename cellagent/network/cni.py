"""CNI plugins: programs that connect a pod as the machine's configuration says.

What a plugin answered is kept beside the configuration it was asked with, so that removal works though the
configuration has changed since, and though nothing else is known of the pod any more, as after a reboot: what plugins
hold elsewhere, such as addresses, outlives that. Source: the CNI specification 1.0 (0.3.1 and 0.4.0 are spoken too).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from cellagent.kernel import namespaces
from cellagent.network.ports import PortMapping
from cellwire.faults import Fault, Kind
from hostkit import files, programs

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
_DEADLINE = 60.0
_INTERFACE = "eth0"


class Plugins(msgspec.Struct, frozen=True):
    """Folders of CNI's configuration and programs."""

    configuration: Path = Path("/etc/cni/net.d")
    programs: tuple[Path, ...] = (Path("/opt/cni/bin"), Path("/usr/lib/cni"))


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call of plugins, for one pod."""

    sandbox: str
    namespace: Path
    pod: tuple[str, str, str]
    ports: tuple[PortMapping, ...]
    plugins: Plugins
    cache: Path


class Cached(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, for whom, and answered; without an answer the chain did not come to its end."""

    network: dict[str, Any]
    namespace: str
    pod: tuple[str, str, str]
    ports: tuple[PortMapping, ...]
    result: dict[str, Any] | None = None


def configuration_file(plugins: Plugins) -> Path | None:
    """The first configuration by name, as a kubelet's other runtimes choose it."""
    if not plugins.configuration.is_dir():
        return None
    found = sorted(path for path in plugins.configuration.iterdir() if path.suffix in {".conflist", ".conf", ".json"})
    return found[0] if found else None


def configured(plugins: Plugins) -> dict[str, Any]:
    """The configuration as a list of plugins. Raises Fault where there is none that can be used."""
    path = configuration_file(plugins)
    if path is None:
        raise Fault(Kind.UNAVAILABLE, "pod network", f"there is no configuration in {plugins.configuration}")
    network = parse(path.read_bytes(), path.name)
    for plugin in network["plugins"]:
        _program(plugin["type"], plugins)
    return network


async def attach(call: Call) -> tuple[str, ...]:
    """Have all plugins connect the pod. Raises Fault with the plugin's words."""
    network = configured(call.plugins)
    # Kept before the first plugin runs: whatever a killed agent has had made must be taken away.
    begun = Cached(network=network, namespace=str(call.namespace), pod=call.pod, ports=call.ports)
    _keep(call, begun)
    result: dict[str, Any] | None = None
    for plugin in network["plugins"]:
        result = await _run("ADD", call, request(network, plugin, call.ports, result)) or result
    if result is None:
        raise Fault(Kind.BROKEN, f"pod network {network['name']}", "its plugins answered nothing")
    _keep(call, msgspec.structs.replace(begun, result=result))
    return addresses(result)


async def check(call: Call) -> None:
    """Have all plugins look whether the pod is still connected. Raises Fault with the plugin's words."""
    kept = _kept(call.cache, call.sandbox)
    if kept is None or kept.result is None:
        raise Fault(Kind.BROKEN, f"network of sandbox {call.sandbox[:13]}", "it was not made")
    if kept.network["cniVersion"].startswith("0.3") or kept.network.get("disableCheck"):
        return
    for plugin in kept.network["plugins"]:
        await _run("CHECK", call, request(kept.network, plugin, call.ports, kept.result))


async def detach(call: Call) -> None:
    """Have all plugins take it away, the last one first. What was never connected is no error. Raises Fault; what is
    kept stays then.
    """
    kept = _kept(call.cache, call.sandbox)
    if kept is None:
        return
    for plugin in reversed(kept.network["plugins"]):
        await _run("DEL", call, request(kept.network, plugin, call.ports, kept.result))
    (call.cache / call.sandbox).unlink(missing_ok=True)


def attached(cache: Path) -> list[str]:
    """The sandboxes that plugins have connected, wholly or in part, and not taken away since."""
    if not cache.is_dir():
        return []
    return sorted(path.name for path in cache.iterdir() if not path.name.startswith("."))


async def take_away(cache: Path, sandbox: str, plugins: Plugins) -> None:
    """As `detach`, for a sandbox of which nothing but this is known. Raises Fault with the plugin's words."""
    kept = _kept(cache, sandbox)
    if kept is None:
        (cache / sandbox).unlink(missing_ok=True)  # torn by a loss of power: it says nothing
        return
    await detach(
        Call(
            sandbox=sandbox,
            namespace=Path(kept.namespace),
            pod=kept.pod,
            ports=kept.ports,
            plugins=plugins,
            cache=cache,
        )
    )


def parse(text: bytes, name: str) -> dict[str, Any]:
    """A configuration as a list of plugins, also where the file holds a single one. Pure. Raises Fault."""
    thing = f"CNI configuration {name}"
    try:
        found = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise Fault(Kind.INVALID, thing, str(error)) from error
    version = found.get("cniVersion", "0.3.1")
    network = {"cniVersion": version, "name": found.get("name", ""), "plugins": found.get("plugins") or [found]}
    if found.get("disableCheck"):
        network["disableCheck"] = True
    if version not in VERSIONS:
        raise Fault(Kind.UNSUPPORTED, thing, f"cniVersion {version} is not spoken", f"use one of {' '.join(VERSIONS)}")
    if not all(isinstance(one, dict) and isinstance(one.get("type"), str) for one in network["plugins"]):
        raise Fault(Kind.INVALID, thing, "a plugin has no type")
    return network


def request(
    network: dict[str, Any], plugin: dict[str, Any], ports: Sequence[PortMapping], previous: dict[str, Any] | None
) -> dict[str, Any]:
    """What one plugin reads. Pure."""
    asked = {key: value for key, value in plugin.items() if key != "capabilities"}
    asked |= {"cniVersion": network["cniVersion"], "name": network["name"]}
    if cast("dict[str, bool]", plugin.get("capabilities") or {}).get("portMappings") and ports:
        mapped = [
            {"hostPort": one.host, "containerPort": one.container, "protocol": one.protocol, "hostIP": one.host_ip}
            for one in ports
        ]
        asked["runtimeConfig"] = {"portMappings": mapped}
    if previous is not None:
        asked["prevResult"] = previous
    return asked


def addresses(result: dict[str, Any]) -> tuple[str, ...]:
    """The pod's addresses in an answer, IPv4 first. Pure."""
    interfaces = result.get("interfaces") or []

    def of_pod(one: dict[str, Any]) -> bool:
        place = one.get("interface")
        return place is None or not interfaces or bool(interfaces[place].get("sandbox"))

    found = [one["address"].partition("/")[0] for one in result.get("ips") or [] if of_pod(one)]
    return tuple(sorted(found, key=lambda address: ":" in address))


async def _run(command: str, call: Call, asked: dict[str, Any]) -> dict[str, Any] | None:
    program = _program(asked["type"], call.plugins)
    space, name, uid = call.pod
    facts = {"K8S_POD_NAMESPACE": space, "K8S_POD_NAME": name, "K8S_POD_UID": uid}
    told = {"IgnoreUnknown": "1", **facts, "K8S_POD_INFRA_CONTAINER_ID": call.sandbox}
    # A plugin that finds no namespace any more must still give back what it holds elsewhere.
    there = str(call.namespace) if namespaces.pinned(call.namespace) else ""
    environment = {
        **programs.ENVIRONMENT,
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": call.sandbox,
        "CNI_NETNS": there,
        "CNI_IFNAME": _INTERFACE,
        "CNI_PATH": _search_path(call.plugins),
        "CNI_ARGS": ";".join(f"{key}={value}" for key, value in told.items() if value),
    }
    done = await programs.run([program], stdin=msgspec.json.encode(asked), env=environment, deadline=_DEADLINE)
    if done.returncode:
        raise Fault(Kind.BROKEN, f"CNI plugin {asked['type']} ({command})", words(done))
    try:
        return msgspec.json.decode(done.stdout, type=dict[str, Any]) if done.stdout.strip() else None
    except msgspec.MsgspecError as error:
        if command != "ADD":  # nothing is asked of its answer
            return None
        raise Fault(Kind.BROKEN, f"CNI plugin {asked['type']} ({command})", f"its answer: {error}") from error


def _program(kind: str, plugins: Plugins) -> str:
    search = _search_path(plugins)
    program = shutil.which(kind, path=search)
    if program is None or "/" in kind:
        cause = f"it is not in {search}"
        raise Fault(Kind.UNSUPPORTED, f"CNI plugin {kind}", cause, "install containernetworking-plugins")
    return program


def _search_path(plugins: Plugins) -> str:
    return ":".join(str(folder) for folder in plugins.programs)


def words(done: programs.Completed) -> str:
    """What a plugin says of its failure: it answers in JSON."""
    try:
        said = msgspec.json.decode(done.stdout, type=dict[str, Any])
    except msgspec.MsgspecError:
        return done.words
    return ": ".join(str(said[key]) for key in ("msg", "details") if said.get(key)) or done.words


def _keep(call: Call, kept: Cached) -> None:
    call.cache.mkdir(parents=True, exist_ok=True)
    files.replace(call.cache / call.sandbox, msgspec.json.encode(kept))


def _kept(cache: Path, sandbox: str) -> Cached | None:
    try:
        return msgspec.json.decode((cache / sandbox).read_bytes(), type=Cached)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
