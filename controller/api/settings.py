"""Settings of the API: what its server is told, and what a file says of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from controller.model.setting import Group, Port


class Api(Group, frozen=True, kw_only=True):
    """The pods API that kubectl speaks with."""

    enabled: Annotated[bool, Meta(description="Whether it is served.")] = True
    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="TCP port to listen on; 0 takes any.")] = 6446
    names: Annotated[
        tuple[str, ...],
        Meta(
            description="Names and addresses by which this API is reached, the first as the kubeconfig says it; its"
            " certificate holds them all. Empty: `api.host`, or where that is all addresses, this machine's."
        ),
    ] = ()
    pods_address: Annotated[
        str,
        Meta(
            description="Address at which pods reach this API with the tokens of their service accounts; `api.host`"
            " must listen there. Empty: they cannot."
        ),
    ] = ""
    ask_registries: Annotated[
        bool, Meta(description="Whether registries are asked for which processors a pod's images are built.")
    ] = True
    image_patience: Annotated[
        float,
        Meta(
            ge=0,
            description="How long a pod that only waits for an image that cannot be pulled keeps its cell, which is"
            " paid for; then the pod has failed. 0: for ever.",
            extra={"unit": "s"},
        ),
    ] = 3600.0
    audit: Annotated[
        bool, Meta(description="Whether audit.log in the state folder says who did what, when, and what came of it.")
    ] = True
    audit_reads: Annotated[
        bool, Meta(description="Whether it holds all reads, too; those of secrets and those refused it always does.")
    ] = False
    audit_mib: Annotated[
        int,
        Meta(
            ge=1,
            description="How large audit.log becomes before it is set aside; four older ones are kept.",
            extra={"unit": "MiB"},
        ),
    ] = 64
    most_objects: Annotated[
        int,
        Meta(
            ge=0,
            description="How many objects of all kinds, events aside, a namespace may have, and how many may be outside"
            " of namespaces; one more is refused with this number. 0: no bound.",
        ),
    ] = 20_000
    others_cloud_route: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks (CIDR) in which `chinampa.dev/cloud-route` may lie for others than the role admin;"
            ' "*": anywhere.'
        ),
    ] = ()
    others_security_groups: Annotated[
        tuple[str, ...],
        Meta(
            description='Groups that others than the role admin may name in `chinampa.dev/security-groups`; "*": any.'
        ),
    ] = ()
    others_instance_profile: Annotated[
        tuple[str, ...],
        Meta(
            description="Profiles that others than the role admin may name in `chinampa.dev/instance-profile`;"
            ' "*": any.'
        ),
    ] = ()
    others_capacity_reservation: Annotated[
        tuple[str, ...],
        Meta(
            description="Reservations that others than the role admin may name in `chinampa.dev/capacity-reservation`;"
            ' "*": any.'
        ),
    ] = ()
    others_public_address: Annotated[
        bool,
        Meta(
            description="Whether others than the role admin may have public addresses (`chinampa.dev/public-address`)."
        ),
    ] = False
    others_metadata: Annotated[
        bool,
        Meta(
            description="Whether pods of others than the role admin may ask their cell's metadata service"
            " (`chinampa.dev/metadata`), and so have the rights of its instance."
        ),
    ] = False
    log_mib: Annotated[
        int,
        Meta(
            ge=0,
            description="About what is kept of a container's logs, the newest; 0: all.",
            extra={"unit": "MiB"},
        ),
    ] = 256


class MetricsOptions(Group, frozen=True, kw_only=True):
    """A port for /metrics, beside the pods API and the admin socket."""

    host: Annotated[str, Meta(description="Address of the port for /metrics without TLS and token.")] = "127.0.0.1"
    port: Annotated[
        int | None, Meta(description="TCP port for /metrics without TLS and token; 0 takes any. Unset: none.")
    ] = None


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Address and certificate of the API; `folder` receives the token and the kubeconfig, both 0600.

    `certify` makes a server's certificate and key for names, to be made anew after `renew_after` seconds; `authority`
    is the certificate (PEM) that kubectl is to trust. `heartbeat` is the pause between two words of a cell, in seconds.
    """

    folder: Path
    certify: Callable[[Sequence[str]], tuple[Path, Path]]
    authority: bytes
    host: str = "127.0.0.1"
    port: int = 0
    names: tuple[str, ...] = ()
    pods_address: str = ""
    renew_after: float = 60 * 86400.0
    bookmark_seconds: float = 60.0
    heartbeat: float = 10.0
