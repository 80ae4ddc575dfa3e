"""Settings of Services."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from controller.model.setting import Group


class Services(Group, frozen=True, kw_only=True):
    """Services: what cells hold of them, and their names."""

    domain: Annotated[str, Meta(description="Domain of the names of Services and pods.", min_length=1)] = (
        "cluster.local"
    )
    name_server: Annotated[
        str, Meta(description="Address of the cluster's name server. Empty: that of Service kube-system/kube-dns.")
    ] = ""
    common: Annotated[
        tuple[str, ...], Meta(description='Services ("namespace/name") that every cell holds from its start.')
    ] = ()
    addresses: Annotated[
        str,
        Meta(
            description="Without a cluster: range of Services' cluster IPs. No network that pods reach may be in it.",
            min_length=1,
        ),
    ] = "10.96.0.0/16"
    addresses6: Annotated[
        str,
        Meta(
            description="Without a cluster: range of Services' second cluster IPs, of IPv6 (`fd00:10:96::/112`), where"
            " cells have addresses of both families. Empty: Services have IPv4 only."
        ),
    ] = ""
