"""Packet rules of a pod in a cell: what it is kept from, and by which address it leaves the VPC. Pure: text for nft.

They hold behind all translation (hooks input and forward), so that no Service whose endpoint is the metadata service
leads round them, and on the cell's side of the cable, where a pod that may change its own network cannot reach.
A pod that shares the cell's network is kept away by a rule on what the cell itself sends; the agent needs the metadata
service before the first pod only.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

METADATA = "169.254.169.254"
METADATA6 = "fd00:ec2::254"
_REFUSE = "reject with icmpx admin-prohibited"
_FILTER = "type filter hook {} priority 0"


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """Inputs of the rules of one sandbox.

    `table` is their name, `cable` the cell's end of the pod's cable ("" where it shares the cell's network). `vpc` are
    the networks in which the pod's own address is known; none is "not known: leave addresses alone". A `public` pod
    gets what comes to the cell's address from beyond them.
    """

    table: str
    cable: str = ""
    address: str = ""
    address6: str = ""
    uplink: str = ""
    vpc: tuple[str, ...] = ()
    metadata: bool = False
    public: bool = False


def rules(guard: Guard) -> str:
    """What nft reads; replaces an older table of that name whole. "" where there is nothing to rule."""
    chains: dict[str, tuple[str, Sequence[str]]] = {}
    if not guard.cable:
        if not guard.metadata:
            chains["output"] = (_FILTER.format("output"), _refusals(""))
    else:
        if not guard.metadata:
            said = _refusals(f'iifname "{guard.cable}" ')
            chains["input"] = (_FILTER.format("input"), said)
            chains["forward"] = (_FILTER.format("forward"), said)
        chains |= _translation(guard)
    return removal(guard.table) + _table(guard.table, chains) if chains else ""


def removal(table: str) -> str:
    """What nft reads to remove the table, whether or not it is there."""
    return f"table inet {table}\ndelete table inet {table}\n"


def _refusals(what: str) -> list[str]:
    return [f"{what}ip daddr {METADATA} {_REFUSE}", f"{what}ip6 daddr {METADATA6} {_REFUSE}"]


def _translation(guard: Guard) -> dict[str, tuple[str, Sequence[str]]]:
    inside = [network for network in guard.vpc if ":" not in network]
    if not inside:
        return {}
    known = "{ " + ", ".join(inside) + " }"
    # A public address belongs to the cell's own, and nothing beyond the VPC knows the pod's.
    leaves = f'oifname "{guard.uplink}" ip saddr {guard.address} ip daddr != {known} masquerade'
    chains: dict[str, tuple[str, Sequence[str]]] = {
        "postrouting": ("type nat hook postrouting priority 90", [leaves]),
    }
    if guard.public:
        comes = f'iifname "{guard.uplink}" ip saddr != {known} fib daddr type local dnat ip to {guard.address}'
        chains["prerouting"] = ("type nat hook prerouting priority -90", [comes])
    return chains


def _table(table: str, chains: dict[str, tuple[str, Sequence[str]]]) -> str:
    lines = [f"table inet {table} {{"]
    for name, (hook, chain) in chains.items():
        lines += [f"  chain {name} {{", f"    {hook};", *(f"    {rule}" for rule in chain), "  }"]
    return "\n".join([*lines, "}", ""])
