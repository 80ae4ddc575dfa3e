"""Services in a cell's kernel, as packet rules: who dials a Service's address is led to one of those who answer. Pure.

One transaction of nft takes the kernel from what it held to what it is to hold. Chains and sets are named by what they
are for, so that those which stay keep their state: who stays with whom by session affinity. Every connection is led
once, by translation; what remains addressed to a Service has nobody who answers and is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from cellagent.network import dialled
from cellwire.addresses import address_of
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind

TABLE = "chinampa-services"
PROTOCOLS = frozenset({"tcp", "udp", "sctp"})
# An agent ends with less than a cell can bear, not with a kernel full of what a controller's fault has sent.
MOST_BACKENDS = 20_000
# Of packets that are told of: a scan of all addresses costs the agent no more than this.
TOLD = "20/second burst 40 packets"
_LOG = f"log group {dialled.GROUP} snaplen {dialled.SNAPLEN} queue-threshold 1"
_FAMILIES = (("ip", "ipv4", "4"), ("ip6", "ipv6", "6"))


class Names(msgspec.Struct, frozen=True):
    """Chains and sets that the kernel holds."""

    chains: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What else the rules are made from: the pod's addresses, the name server whose questions come to `resolver`, and
    the networks of Services: what is dialled there and not held is told by NFLOG, and is to be dialled again.
    """

    pods: tuple[str, ...] = ()
    name_server: str = ""
    resolver: str = ""
    networks: tuple[str, ...] = ()


def checked(service: wire.HeldService) -> wire.HeldService:
    """The Service, if rules can be made of it. Raises Fault INVALID naming what cannot be."""
    for port in service.ports:
        thing = f"Service {service.name}"
        if port.protocol not in PROTOCOLS:
            raise Fault(Kind.INVALID, thing, f"{port.protocol!r} is no protocol")
        numbers = [port.port, *(one.port for one in port.backends)]
        if not all(0 < number < 65536 for number in numbers) or port.node_port > 65535:
            raise Fault(Kind.INVALID, thing, "a port is not from 1 to 65535")
        for address in (*port.addresses, *port.node_addresses, *(one.address for one in port.backends)):
            try:
                address_of(address)
            except ValueError as error:
                raise Fault(Kind.INVALID, thing, str(error)) from error
    return service


def transaction(services: Mapping[str, wire.HeldService], held: Names | None, around: Around) -> tuple[str, Names]:
    """What nft reads to hold exactly these, and what it holds then. `held` None is "not known": all is made anew."""
    made = _ServiceRules()
    for name in fitting(services):
        for port in services[name].ports:
            made.port(name, port)
    names = Names(frozenset(made.chains), frozenset(made.sets))
    lines = [f"add table inet {TABLE}"]
    if held is None:
        lines += [f"delete table inet {TABLE}", f"add table inet {TABLE}"]
    lines += _base()
    lines += [f"flush table inet {TABLE}", *(f"flush map inet {TABLE} {name}" for name in _maps()),
              *(f"flush set inet {TABLE} vips{number}" for _, _, number in _FAMILIES)]  # fmt: skip
    if held is not None:
        lines += [f"delete chain inet {TABLE} {name}" for name in sorted(held.chains - names.chains)]
        lines += [f"delete set inet {TABLE} {name}" for name in sorted(held.sets - names.sets)]
    lines += [f"add set inet {TABLE} {name} {{ {what} }}" for name, what in sorted(made.sets.items())]
    lines += [f"add chain inet {TABLE} {name}" for name in made.chains]
    lines += [f"add rule inet {TABLE} {name} {rule}" for name, rules in made.chains.items() for rule in rules]
    lines += [
        f"add element inet {TABLE} {name} {{ {', '.join(dict.fromkeys(elements))} }}"
        for name, elements in made.elements.items()
        if elements
    ]
    return "\n".join([*lines, *_hooks(around), ""]), names


def fitting(services: Mapping[str, wire.HeldService]) -> list[str]:
    """The Services for whose backends there is room, by name: those with most are left out first, so that nobody's
    large one keeps the kernel from taking changes of the others.
    """
    sizes = {name: sum(len(port.backends) for port in service.ports) for name, service in services.items()}
    found: list[str] = []
    left = MOST_BACKENDS
    for name in sorted(services, key=lambda name: (sizes[name], name)):
        left -= sizes[name]
        if left < 0:
            break
        found.append(name)
    return sorted(found)


def removal() -> str:
    """What nft reads to hold none."""
    return f"add table inet {TABLE}\ndelete table inet {TABLE}\n"


class _ServiceRules:
    def __init__(self) -> None:
        self.chains: dict[str, list[str]] = {}
        self.sets: dict[str, str] = {}
        self.elements: dict[str, list[str]] = {name: [] for name in (*_maps(), "vips4", "vips6")}
        self.backends = 0
        self._led: set[tuple[str, str]] = set()

    def port(self, service: str, port: wire.ServicePort) -> None:
        for family, type_, number in _FAMILIES:
            addresses = [one for one in port.addresses if _family(one) == family]
            there = sorted({(one.address, one.port) for one in port.backends if _family(one.address) == family})
            self.elements[f"vips{number}"] += addresses
            if not there:
                continue
            chain = f"s{number}_{_mark(service, port.protocol, port.port)}"
            ends = [self._backend(chain, port, one, (family, type_)) for one in there]
            self.backends += len(ends)
            stay = [f"{family} saddr @a{one[1:]} goto {one}" for one in ends if port.affinity_seconds]
            choose = ", ".join(f"{index} : goto {one}" for index, one in enumerate(ends))
            self.chains[chain] = [*stay, f"numgen random mod {len(ends)} vmap {{ {choose} }}"]
            for address in addresses:
                self._lead(f"services{number}", f"{port.protocol} . {address} . {port.port}", chain)
            if port.node_port:
                self._lead(f"nodes{number}", f"{port.protocol} . {port.node_port}", chain)
                # No addresses of a Service: all other ports of the node are the node's.
                for address in (one for one in port.node_addresses if _family(one) == family):
                    self._lead(f"services{number}", f"{port.protocol} . {address} . {port.node_port}", chain)

    def _lead(self, where: str, key: str, chain: str) -> None:
        """Two Services may say that they are at the same place: the first is, for nft takes a map with neither else."""
        if (where, key) not in self._led:
            self._led.add((where, key))
            self.elements[where].append(f"{key} : goto {chain}")

    def _backend(self, chain: str, port: wire.ServicePort, there: tuple[str, int], family: tuple[str, str]) -> str:
        address, number = there
        name = f"b{chain[1:]}_{_mark(address, number)}"
        keep: list[str] = []
        if port.affinity_seconds:
            self.sets["a" + name[1:]] = (
                f"type {family[1]}_addr; flags dynamic,timeout; timeout {port.affinity_seconds}s;"
            )
            keep.append(f"update @a{name[1:]} {{ {family[0]} saddr }}")
        end = address if family[0] == "ip" else f"[{address}]"
        self.chains[name] = [*keep, f"meta l4proto {port.protocol} dnat {family[0]} to {end}:{number}"]
        return name


def _maps() -> tuple[str, ...]:
    return ("services4", "services6", "nodes4", "nodes6")


def _base() -> Iterable[str]:
    for _, type_, number in _FAMILIES:
        key = f"type inet_proto . {type_}_addr . inet_service : verdict;"
        yield f"add map inet {TABLE} services{number} {{ {key} }}"
        yield f"add map inet {TABLE} nodes{number} {{ type inet_proto . inet_service : verdict; }}"
        yield f"add set inet {TABLE} vips{number} {{ type {type_}_addr; }}"
    for name, hook in (
        ("prerouting", "type nat hook prerouting priority -100;"),
        ("output", "type nat hook output priority -100;"),
        ("postrouting", "type nat hook postrouting priority 80;"),
        ("forward", "type filter hook forward priority 0;"),
        ("sent", "type filter hook output priority 0;"),
    ):
        yield f"add chain inet {TABLE} {name} {{ {hook} }}"


def _hooks(around: Around) -> Iterable[str]:
    add = f"add rule inet {TABLE}"
    if around.name_server and around.resolver:
        family = _family(around.name_server)
        asked = f'iifname "pod*" {family} daddr {around.name_server} meta l4proto {{ tcp, udp }} th dport 53'
        yield f"{add} prerouting {asked} dnat {family} to {around.resolver}:53"
    for chain in ("prerouting", "output"):
        for family, _, number in _FAMILIES:
            yield f"{add} {chain} meta l4proto . {family} daddr . th dport vmap @services{number}"
            local = f"meta nfproto ipv{number} fib daddr type local meta l4proto . th dport"
            yield f"{add} {chain} {local} vmap @nodes{number}"
    for pod in around.pods:
        family = _family(pod)
        # Who is led to itself must hear the answer by the way of the question.
        yield f"{add} postrouting {family} saddr {pod} {family} daddr {pod} masquerade"
    for chain in ("forward", "sent"):
        for family, _, number in _FAMILIES:
            if inside := [network for network in around.networks if _family(network) == family]:
                there = f"{family} daddr {{ {', '.join(inside)} }} {family} daddr != @vips{number}"
                yield f"{add} {chain} {there} limit rate {TOLD} {_LOG}"
                yield f"{add} {chain} {there} drop"
            yield f"{add} {chain} {family} daddr @vips{number} reject"


def _family(address: str) -> str:
    return "ip6" if ":" in address else "ip"


def _mark(*parts: object) -> str:
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:12]
