"""Settings of the controller: one table, from which the file format, flags and docs/config.md are made.

The table is composed here of the groups that the rooms describe in their `settings.py`: a field is a setting. What is
unknown or of the wrong type is refused with its line in the file. Read once, passed on in groups.
"""

from __future__ import annotations

import enum
import re
import tomllib
import types
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Union, cast, get_args, get_origin

import msgspec
from msgspec import Meta

from cellwire.faults import Fault, Kind
from controller.api.settings import Api, MetricsOptions
from controller.clouds.ec2.ec2_settings import Ec2Options
from controller.clouds.local.local_settings import LocalOptions
from controller.clouds.settings import Proxy, Registry
from controller.cluster.settings import Kubernetes
from controller.fleet.fleet_settings import FleetOptions, OverheadOptions, StandbyTable
from controller.link.link_settings import LinkOptions
from controller.model.setting import Group
from controller.remote.settings import Remote
from controller.services.settings import Services
from controller.shim.settings import Shim
from controller.store.store_settings import StoreOptions
from controller.worker.settings import WorkerOptions


class CloudKind(enum.StrEnum):
    """The clouds that there are."""

    LOCAL = "local"
    EC2 = "ec2"


class CloudOptions(Group, frozen=True, kw_only=True):
    """Where instances come from."""

    kind: Annotated[CloudKind, Meta(description='"local" or "ec2".')] = CloudKind.LOCAL
    local: LocalOptions = LocalOptions()
    ec2: Ec2Options = Ec2Options()


class Settings(Group, frozen=True, kw_only=True):
    """All settings."""

    state: Annotated[
        Path, Meta(description="Folder of the controller: store, keys, kubeconfig, admin socket, copies of logs.")
    ] = Path("/var/lib/chinampa")
    cluster: Annotated[
        str,
        Meta(
            description="Tags every instance; two controllers of one account must differ.", pattern="^[a-z0-9-]{1,40}$"
        ),
    ] = "default"
    log_level: Annotated[
        str, Meta(description='"debug", "info", "warning" or "error".', pattern="^(debug|info|warning|error)$")
    ] = "info"
    link: LinkOptions = LinkOptions()
    api: Api = Api()
    metrics: MetricsOptions = MetricsOptions()
    shim: Shim = Shim()
    kubernetes: Kubernetes = Kubernetes()
    services: Services = Services()
    worker: WorkerOptions = WorkerOptions()
    remote: Remote = Remote()
    store: StoreOptions = StoreOptions()
    fleet: FleetOptions = FleetOptions()
    overhead: OverheadOptions = OverheadOptions()
    cloud: CloudOptions = CloudOptions()
    standby: tuple[StandbyTable, ...] = ()
    registries: tuple[Registry, ...] = ()
    proxy: Proxy = Proxy()


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One setting: `key` as in the file ("link.port"; "registries[].host" within a list of tables)."""

    key: str
    type: type
    help: str
    unit: str
    default: object
    required: bool

    @property
    def flag(self) -> str:
        """As on the command line; empty where a list of tables has no flag."""
        return "" if "[]" in self.key else "--" + self.key.replace(".", "-").replace("_", "-")

    @property
    def type_name(self) -> str:
        """As in the documentation."""
        names = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
        return "text" if issubclass(self.type, enum.Enum) else names.get(self.type, "list of texts")


@cache
def table() -> tuple[Row, ...]:
    """Every setting, in the order of the file."""
    return tuple(_rows(Settings, ""))


def _rows(group: type[Group], prefix: str) -> Iterator[Row]:
    for field in msgspec.structs.fields(group):
        hint = field.type
        item = get_args(hint)[0] if get_origin(hint) is tuple else hint
        if isinstance(item, type) and issubclass(item, Group):
            yield from _rows(item, f"{prefix}{field.name}{'[]' if item is not hint else ''}.")
            continue
        kind, metas = _unwrapped(hint)
        yield Row(
            key=prefix + field.name,
            type=kind,
            help=next((str(meta.description) for meta in reversed(metas) if meta.description), ""),
            unit=next((str(meta.extra["unit"]) for meta in metas if meta.extra), ""),
            default=None if field.required else field.default,
            required=field.required,
        )


def _unwrapped(hint: Any) -> tuple[type, list[Meta]]:
    metas: list[Meta] = []
    while get_origin(hint) is Annotated:
        hint, *more = get_args(hint)
        metas.extend(more)
    if get_origin(hint) in {Union, types.UnionType}:
        hint = next(each for each in get_args(hint) if each is not type(None))
    return cast("type", get_origin(hint) or hint), metas


def load(path: Path | None, flags: Mapping[str, object] | None = None) -> Settings:
    """Read the file and lay flags (setting's key → value) over it. Raises Fault INVALID with line and key."""
    text = ""
    if path is not None:
        try:
            text = path.read_text()
        except OSError as error:
            raise Fault(Kind.INVALID, f"config {path}", error.strerror or str(error), "name a readable file") from error
        except UnicodeDecodeError as error:
            raise Fault(Kind.INVALID, f"config {path}", "it is not UTF-8 text") from error
    return parse(text, str(path or "flags"), flags)


def parse(text: str, name: str, flags: Mapping[str, object] | None = None) -> Settings:
    """Settings from the text of a file; `name` is what messages call it. Raises Fault INVALID."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Fault(Kind.INVALID, f"config {name}", f"it is not TOML: {error}", "mend that line") from error
    _refuse_unknown(tree, text, name)
    for key, value in (flags or {}).items():
        _lay(tree, key.split("."), value)
    try:
        return msgspec.convert(tree, Settings, strict=True, dec_hook=_path)
    except (msgspec.ValidationError, NotImplementedError) as error:
        message, _, where = str(error).partition(" - at ")
        key = where.strip("`").removeprefix("$").removeprefix(".")
        raise _refusal(text, name, key, message) from error


def _path(kind: type, value: object) -> object:
    if kind is not Path or not isinstance(value, (str, Path)):
        raise NotImplementedError(kind)
    return Path(value)


def _lay(tree: dict[str, Any], keys: list[str], value: object) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
    tree[keys[-1]] = value


def _refuse_unknown(tree: Mapping[str, Any], text: str, name: str) -> None:
    known = {row.key for row in table()}
    groups = {key[: match.end() - 1] for key in known for match in re.finditer(r"\.", key)}
    for key, plain in _keys(tree, ""):
        if plain not in known and plain not in groups:
            mend = _nearest(plain, known | groups)
            raise _refusal(text, name, key, "there is no such setting", mend)


def _keys(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """Every key of the file twice: with numbers in lists of tables ("registries[1].host"), and without."""
    for key, value in tree.items():
        here = f"{prefix}{key}"
        if isinstance(value, dict):
            yield here, _plain(here)
            yield from _keys(cast("dict[str, Any]", value), f"{here}.")
        elif isinstance(value, list) and value and all(isinstance(each, dict) for each in cast("list[Any]", value)):
            for number, each in enumerate(cast("list[dict[str, Any]]", value)):
                yield f"{here}[{number}]", _plain(f"{here}[{number}]")
                yield from _keys(each, f"{here}[{number}].")
        else:
            yield here, _plain(here)


def _plain(key: str) -> str:
    return re.sub(r"\[\d+\]", "[]", key)


def _nearest(key: str, known: set[str]) -> str:
    # Imported where it is needed: only a typo pays for it.
    import difflib  # noqa: PLC0415

    close = difflib.get_close_matches(key, known, 1, 0.6)
    return f"did you mean {close[0]}?" if close else "docs/config.md lists all settings"


def _refusal(text: str, name: str, key: str, cause: str, mend: str = "docs/config.md lists all settings") -> Fault:
    line = line_of(text, key)
    where = f"config {name}, line {line}" if line else f"config {name}"
    return Fault(Kind.INVALID, f"{where}, key {key}", cause[:1].lower() + cause[1:], mend)


def line_of(text: str, key: str) -> int:
    """The line, from 1, on which a key of the file stands; 0 where it is not found (a flag, an inline table)."""
    wanted = re.sub(r"\[(\d+)\](?=$)", "", key) if key.endswith("]") else key
    prefix, counts = "", dict[str, int]()
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if found := re.match(r"\[\[\s*([^\]]+?)\s*\]\]", bare):
            name = found[1]
            counts[name] = counts.get(name, -1) + 1
            prefix = f"{name}[{counts[name]}]."
            if prefix in {f"{key}.", f"{wanted}."}:
                return number
        elif found := re.match(r"\[\s*([^\]]+?)\s*\]", bare):
            prefix = f"{found[1]}."
            if prefix == f"{wanted}.":
                return number
        elif found := re.match(r"([A-Za-z0-9_.\-\" ]+?)\s*=", bare):
            written = prefix + found[1].replace('"', "").replace(" ", "")
            if written == wanted or wanted.startswith((f"{written}.", f"{written}[")):
                return number
    return 0
