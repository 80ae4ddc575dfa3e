"""Settings of the controller: one table, from which the file format and docs/config.md are made.

The file is TOML. A key that nobody knows is refused with its line: a typo must not leave a setting at its default.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from cellwire.faults import Fault, Kind

SCALARS = (str, int, float, bool)


class Setting(msgspec.Struct, frozen=True):
    """One row: dotted key, default (its type is the setting's), what it does and in which unit."""

    key: str
    default: Any
    help: str


SETTINGS: tuple[Setting, ...] = (
    Setting("state", "/var/lib/chinampa/controller", "Folder of the controller: records, keys, logs of pods."),
    Setting("cluster", "default", "Name that tags every instance; two controllers of one account must differ."),
    Setting("link.host", "0.0.0.0", "Address on which cells may dial."),  # noqa: S104
    Setting("link.port", 7443, "TCP port on which cells may dial."),
    Setting("link.addresses", [], "Addresses by which cells reach the port, the first preferred; empty: link.host."),
    Setting("api.host", "127.0.0.1", "Address of the pods API for kubectl."),
    Setting("api.port", 7444, "TCP port of the pods API; 0 turns it off."),
    Setting("shim.socket", "", "Unix socket of CRI for a kubelet; empty turns the shim off."),
    Setting("shim.pods", "/var/lib/kubelet/pods", "The kubelet's folder of pods."),
    Setting("fleet.boot_seconds", 300.0, "Seconds from launch to join after which a cell is given up."),
    Setting("fleet.lease_seconds", 30.0, "Seconds of silence after which a cell is lost."),
    Setting("fleet.heartbeat_seconds", 5.0, "Seconds between a cell's heartbeats."),
    Setting("cloud.kind", "local", 'Where instances come from: "local" or "ec2".'),
    Setting("cloud.local.root", "/var/lib/chinampa/local", "Folder of the local cloud's instances."),
    Setting("cloud.local.bridge", "chinampa0", "Bridge of the local cloud."),
    Setting("cloud.local.subnet", "10.201.0.0/16", "Addresses of the local cloud's instances and pods."),
    Setting("cloud.local.masquerade", False, "Whether local instances may reach beyond this machine."),  # noqa: FBT003
    Setting("cloud.local.memory_mib", 0, "MiB that all local instances may have together; 0: all of this machine."),
    Setting("registries", [], "Tables of host, mirrors and plain_http: how cells reach image registries."),
)
REGISTRY_KEYS = {"host": str, "mirrors": list, "plain_http": bool}


class Config(msgspec.Struct, frozen=True):
    """Settings by their dotted keys, all of them present."""

    values: dict[str, Any]

    def text(self, key: str) -> str:
        """A setting that is text."""
        return str(self.values[key])

    def number(self, key: str) -> int:
        """A setting that is a whole number."""
        return int(self.values[key])

    def seconds(self, key: str) -> float:
        """A setting in seconds."""
        return float(self.values[key])

    def flag(self, key: str) -> bool:
        """A setting that is true or false."""
        return bool(self.values[key])

    def texts(self, key: str) -> tuple[str, ...]:
        """A setting that is a list of texts."""
        return tuple(str(each) for each in self.values[key])

    def registries(self) -> tuple[dict[str, Any], ...]:
        """The tables of registries."""
        return tuple(self.values["registries"])


def load(path: Path) -> Config:
    """Read a file. Raises Fault INVALID with the line and the key."""
    try:
        text = path.read_text()
    except OSError as error:
        raise Fault(Kind.NOT_FOUND, f"config {path}", str(error.strerror), "name a file that can be read") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> Config:
    """Settings of a text in TOML; `name` is what errors call it. Raises Fault INVALID."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Fault(Kind.INVALID, f"config {name}", str(error), "mend the line; the file is TOML") from error
    known = {setting.key: setting for setting in SETTINGS}
    values = {setting.key: setting.default for setting in SETTINGS}
    for key, value in _flat(found, set(known)):
        if key not in known:
            raise _bad(name, text, key, "there is no such setting", f"known are: {', '.join(known)}")
        wanted = type(known[key].default)
        fits = type(value) is wanted or (wanted is float and type(value) is int)
        if not fits:
            raise _bad(name, text, key, f"{value!r} is not {_kind(wanted)}", known[key].help)
        values[key] = wanted(value)
    for registry in values["registries"]:
        _check_registry(registry, name, text)
    return Config(values)


def reference() -> str:
    """docs/config.md."""
    rows = "\n".join(f"| `{row.key}` | `{row.default!r}` | {row.help} |" for row in SETTINGS)
    return (
        "# Settings of the controller\n\n"
        "`chinampa controller --config FILE`, in TOML; a dotted key is a key of a table. Unknown keys are refused.\n"
        "Made from the table in `controller/config.py`.\n\n"
        f"| key | default | what it does |\n|---|---|---|\n{rows}\n"
    )


def _flat(table: dict[str, Any], known: set[str], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        full = f"{prefix}{key}"
        if isinstance(value, dict) and full not in known:
            found += _flat(value, known, f"{full}.")
        else:
            found.append((full, value))
    return found


def _check_registry(registry: Any, name: str, text: str) -> None:
    if not isinstance(registry, dict) or "host" not in registry:
        raise _bad(name, text, "registries", "each needs a host", 'write [[registries]] and host = "…"')
    for key, value in registry.items():
        wanted = REGISTRY_KEYS.get(key)
        if wanted is None or not isinstance(value, wanted):
            raise _bad(name, text, key, "it is not one of host, mirrors, plain_http in its form", "see docs/config.md")


def _bad(name: str, text: str, key: str, cause: str, mend: str) -> Fault:
    last = key.rsplit(".", 1)[-1]
    lines = (number for number, line in enumerate(text.splitlines(), 1) if line.strip().startswith((last, f"[{key}")))
    return Fault(Kind.INVALID, f"config {name}, line {next(lines, 1)}, key {key}", cause, mend)


def _kind(wanted: type) -> str:
    return {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}[wanted]
