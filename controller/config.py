"""Settings of the controller: one table, from which the file format, flags and docs/config.md are made.

The table is the structs below: a field is a setting, with its type, limits, default, help and unit. What is unknown
or of the wrong type is refused with its line in the file. Read once, passed on in groups.
"""

from __future__ import annotations

import re
import tomllib
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from cellwire.faults import Fault, Kind

Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(gt=0, extra={"unit": "seconds"})]


class Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of one room."""


class Link(Group, frozen=True, kw_only=True):
    """The port that cells dial."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "0.0.0.0"  # noqa: S104 # cells come from elsewhere
    port: Annotated[Port, Meta(description="TCP port to listen on; 0 takes any.")] = 7443
    addresses: Annotated[
        tuple[str, ...],
        Meta(description="How cells reach this port, the first preferred. Empty: `link.host`, or the bridge."),
    ] = ()


class Api(Group, frozen=True, kw_only=True):
    """The pods API that kubectl speaks with."""

    enabled: Annotated[bool, Meta(description="Whether it is served.")] = True
    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="TCP port to listen on; 0 takes any.")] = 6446
    ask_registries: Annotated[
        bool, Meta(description="Whether registries are asked for which processors a pod's images are built.")
    ] = True
    log_mib: Annotated[
        int,
        Meta(
            ge=0,
            description="About what is kept of a container's logs, the newest; 0: all.",
            extra={"unit": "MiB"},
        ),
    ] = 256


class Metrics(Group, frozen=True, kw_only=True):
    """A port for /metrics, beside the pods API and the admin socket."""

    host: Annotated[str, Meta(description="Address of the port for /metrics without TLS and token.")] = "127.0.0.1"
    port: Annotated[
        int | None, Meta(description="TCP port for /metrics without TLS and token; 0 takes any. Unset: none.")
    ] = None


class Shim(Group, frozen=True, kw_only=True):
    """The container runtime for a kubelet on this machine."""

    socket: Annotated[Path | None, Meta(description="Unix socket on which CRI is served. Unset: no shim.")] = None
    pods_folder: Annotated[str, Meta(description="The kubelet's `pods` folder.")] = "/var/lib/kubelet/pods"
    streaming_host: Annotated[str, Meta(description="Address on which exec and port-forward are served.")] = "127.0.0.1"


class Fleet(Group, frozen=True, kw_only=True):
    """How cells are launched, watched and collected."""

    lease: Annotated[Seconds, Meta(description="A cell that is silent for so long is lost.")] = 30.0
    heartbeat: Annotated[Seconds, Meta(description="How often a cell says that it is alive.")] = 5.0
    boot: Annotated[Seconds, Meta(description="An instance that has not dialled by then is given up.")] = 300.0
    launch: Annotated[Seconds, Meta(description="A launch without an answer by then is given up.")] = 600.0
    unclaimed: Annotated[
        Seconds, Meta(description="A cell made for a pod that nobody has asked for again for so long is retired.")
    ] = 300.0
    survey: Annotated[Seconds, Meta(description="How often the cloud's instances are listed.")] = 10.0
    maintenance_lead: Annotated[
        Seconds, Meta(description="How long before maintenance that ends its instance a pod is told to end.")
    ] = 600.0
    rebalance: Annotated[
        str,
        Meta(
            description='What a rebalance recommendation of EC2 leads to: "tell" says so on the pod and in the log; '
            '"interrupt" moves the pod as if its instance were taken.',
            pattern="^(tell|interrupt)$",
        ),
    ] = "tell"
    standby_max_usd_hour: Annotated[
        float,
        Meta(ge=0, description="What all warm cells may cost together; 0: no bound.", extra={"unit": "USD per hour"}),
    ] = 0.0
    standby_max_waste: Annotated[
        float,
        Meta(ge=1, description="A pod takes a warm cell that costs at most so many times as much as a fresh one."),
    ] = 2.0
    orphan_grace: Annotated[
        Seconds, Meta(description="An instance of ours that no record knows is ended after so long, and two sightings.")
    ] = 30.0


class Store(Group, frozen=True, kw_only=True):
    """Where records are kept."""

    kind: Annotated[
        str,
        Meta(
            description='"sqlite", a file in the state folder; or "etcd", for several controllers, of which one leads.',
            pattern="^(sqlite|etcd)$",
        ),
    ] = "sqlite"
    endpoints: Annotated[tuple[str, ...], Meta(description="Members of etcd.")] = ("http://127.0.0.1:2379",)
    ca: Annotated[Path | None, Meta(description="Whose certificates of members are trusted. Unset: the system's.")] = (
        None
    )
    certificate: Annotated[Path | None, Meta(description="Our certificate for etcd, with its chain.")] = None
    key: Annotated[Path | None, Meta(description="The key of that certificate.")] = None
    lease: Annotated[
        float,
        Meta(
            ge=2,
            description="A leader that etcd has not heard of for so long leads no more.",
            extra={"unit": "seconds"},
        ),
    ] = 15.0


class Overhead(Group, frozen=True, kw_only=True):
    """What the agent takes of an instance, beside the pod."""

    cpu: Annotated[int, Meta(ge=0, description="CPU.", extra={"unit": "thousandths of a CPU"})] = 0
    memory: Annotated[int, Meta(ge=0, description="Memory.", extra={"unit": "MiB"})] = 96


class Standby(Group, frozen=True, kw_only=True):
    """Warm cells, kept ready for pods of about this size. A table each. See docs/pool.md."""

    name: Annotated[
        str, Meta(description="Its name in metrics. Unset: from its place.", pattern="^[a-z0-9-]{0,40}$")
    ] = ""
    count: Annotated[int, Meta(ge=0, description="How many to keep, at least.")] = 0
    most: Annotated[
        int, Meta(ge=0, description="Up to how many to keep, as pods come. Not above `count`: a fixed number.")
    ] = 0
    target_hit: Annotated[
        float, Meta(gt=0, lt=1, description="Share of the pods that are to find one ready, where the number adapts.")
    ] = 0.95
    max_age: Annotated[Seconds, Meta(description="One that waited for so long is replaced.")] = 86400.0
    cpu: Annotated[str, Meta(description='CPU that a pod may ask of them, as in Kubernetes ("500m").')]
    memory: Annotated[str, Meta(description='Memory that a pod may ask of them, as in Kubernetes ("256Mi").')]
    gpus: Annotated[int, Meta(ge=0, description="GPUs that a pod may ask of them.")] = 0
    disk: Annotated[
        str, Meta(description='Disk that a pod may ask of them, as in Kubernetes ("20Gi"). Empty: what all have.')
    ] = ""
    annotations: Annotated[
        tuple[str, ...],
        Meta(description='What such pods have as chinampa.dev/ annotations: "launch-type=spot", "gpu-name=t4".'),
    ] = ()


class Registry(Group, frozen=True, kw_only=True):
    """How cells reach an image registry. A table each."""

    host: Annotated[str, Meta(description="Host and optional port, as in image references.")]
    mirrors: Annotated[tuple[str, ...], Meta(description="Base addresses, tried in order before the host.")] = ()
    plain_http: Annotated[bool, Meta(description="Whether plain http may be spoken with the host itself.")] = False


class LocalCloud(Group, frozen=True, kw_only=True):
    """The cloud whose instances are namespaces of this machine."""

    cluster: Annotated[
        str, Meta(description="Part of the names of cgroups. Unset: `cluster`.", pattern="^[a-z0-9-]{0,40}$")
    ] = ""
    root: Annotated[
        Path | None, Meta(description="Records, keys and disks of instances. Unset: `local` in the state folder.")
    ] = None
    bridge: Annotated[str, Meta(description="Name of the bridge.", min_length=1, max_length=15)] = "chinampa0"
    subnet: Annotated[str, Meta(description="Addresses of instances; the bridge has the first.")] = "10.201.0.0/16"
    masquerade: Annotated[bool, Meta(description="Whether instances reach beyond this machine.")] = False
    nameservers: Annotated[tuple[str, ...], Meta(description="For instances. Empty: this machine's own.")] = ()
    visible: Annotated[tuple[str, ...], Meta(description="Folders below /tmp or /run that instances must see.")] = ()
    memory_mib: Annotated[
        int, Meta(ge=0, description="Memory of all instances together; 0: all there is.", extra={"unit": "MiB"})
    ] = 0
    cgroup_parent: Annotated[str, Meta(description="cgroup below which instances' groups are made.")] = ""


class Ec2Cloud(Group, frozen=True, kw_only=True):
    """The cloud whose instances are those of Amazon EC2."""

    region: Annotated[str, Meta(description='As in "eu-central-1".')] = ""
    subnets: Annotated[
        tuple[str, ...], Meta(description="Subnets of one VPC in which instances are; their zones are the zones sold.")
    ] = ()
    image_amd64: Annotated[str, Meta(description="Cell image for x86. Empty: such types are not used.")] = ""
    image_arm64: Annotated[str, Meta(description="Cell image for arm. Empty: such types are not used.")] = ""
    certificates: Annotated[
        Path | None,
        Meta(
            description="Folder of PEM files: the region's RSA certificates for identity documents, from the EC2 user "
            'guide ("AWS public certificates for instance identity document signatures").'
        ),
    ] = None
    security_groups: Annotated[
        tuple[str, ...], Meta(description="Groups of every instance, beside the cluster's own.")
    ] = ()
    instance_profile: Annotated[str, Meta(description="Name or ARN, where a pod names none. Empty: none.")] = ""
    key_name: Annotated[str, Meta(description="Key pair for SSH. Empty: none.")] = ""
    volume_gb: Annotated[
        int,
        Meta(
            ge=1,
            description="Root volume; what a pod asks for as ephemeral storage comes on top.",
            extra={"unit": "GB"},
        ),
    ] = 10
    volume_type: Annotated[str, Meta(description="Type of root volumes.")] = "gp3"
    volume_key: Annotated[str, Meta(description="KMS key of root volumes. Empty: the account's default.")] = ""
    public_address: Annotated[bool, Meta(description="Public addresses, where a pod does not say.")] = False
    fleets: Annotated[bool, Meta(description="Launch by CreateFleet; else by RunInstances.")] = True
    spot: Annotated[bool, Meta(description="Whether pods that ask for spot get it.")] = True
    max_price: Annotated[
        float, Meta(ge=0, description="Dearer instances are not used; 0: no limit.", extra={"unit": "USD per hour"})
    ] = 0.0
    tags: Annotated[tuple[str, ...], Meta(description='More tags for all that is made: "team=blue".')] = ()
    queue_url: Annotated[
        str, Meta(description="SQS queue to which EventBridge sends what happens to instances. Empty: none is read.")
    ] = ""
    call_seconds: Annotated[
        Seconds,
        Meta(description="How long one try of a call to AWS may take; calls are tried for about twice as long in all."),
    ] = 30.0
    key_profile: Annotated[
        str, Meta(description="Profile of the shared AWS configuration. Empty: the SDK's usual search.")
    ] = ""
    account: Annotated[str, Meta(description="Account of the instances. Empty: that of the credentials.")] = ""
    endpoint_url: Annotated[str, Meta(description="Address of all AWS services, for tests. Empty: AWS's own.")] = ""


class Cloud(Group, frozen=True, kw_only=True):
    """Where instances come from."""

    kind: Annotated[str, Meta(description='"local" or "ec2".', pattern="^(local|ec2)$")] = "local"
    local: LocalCloud = LocalCloud()
    ec2: Ec2Cloud = Ec2Cloud()


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
    link: Link = Link()
    api: Api = Api()
    metrics: Metrics = Metrics()
    shim: Shim = Shim()
    store: Store = Store()
    fleet: Fleet = Fleet()
    overhead: Overhead = Overhead()
    cloud: Cloud = Cloud()
    standby: tuple[Standby, ...] = ()
    registries: tuple[Registry, ...] = ()


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
        return names.get(self.type, "list of texts")


def table(group: type[Group] = Settings, prefix: str = "") -> tuple[Row, ...]:
    """Every setting, in the order of the file."""
    return tuple(_rows(group, prefix))


def _rows(group: type[Group], prefix: str) -> Iterator[Row]:
    hints = get_type_hints(group, include_extras=True)
    for field in msgspec.structs.fields(group):
        hint = hints[field.name]
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
