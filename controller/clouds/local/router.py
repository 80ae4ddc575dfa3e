"""The router of the local cloud's VPC: a network namespace of its own, with a link to each instance and one to this
machine.

No packet between instances is seen by this machine's own rules. The namespace is pinned below the cloud's folder, so
that it outlives a killed controller as the instances do. Links are routed, not bridged: an instance has nobody for a
neighbour but the router, which answers for all, as EC2's does.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from cellwire.faults import Fault, Kind
from controller.clouds.local import addresses, vpc
from controller.clouds.local.instance_records import Record
from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.local.vpc import MACHINE, Interface, SecurityGroup, Vpc
from hostkit import programs
from hostkit.syscalls import CLONE_NEWNET, setns, unmount

_PREFIX = "ch"
_SETTINGS = {
    "ipv4/ip_forward": "1",
    # The router answers for every address that it knows a way to.
    "ipv4/conf/default/proxy_arp": "1",
    # EC2's source check: nothing comes in by a link that does not lead back to its sender.
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "1",
}
_SETTINGS6 = {"ipv6/conf/all/forwarding": "1"}
ROUTER6, OWN6 = "fe80::1", "fe80::2"
"""Of each link, the router's end and the other, which are alone on it."""
Result = TypeVar("Result")
_RTM_NEWLINK = 16
_REQUEST, _ACK = 1, 4
_IFLA_IFNAME, _IFLA_NET_NS_PID = 3, 19
_ANSWER = struct.Struct("=IHHIIi")


class _Address(msgspec.Struct):
    local: str = ""
    prefixlen: int = 0


class _Device(msgspec.Struct):
    ifname: str = ""
    addr_info: list[_Address] = []


class _Link(msgspec.Struct):
    ifname: str


class Router:
    """The owner of the router's links, routes and rules."""

    def __init__(self, settings: LocalSettings) -> None:
        self._settings = settings
        self._interfaces: dict[str, Interface] = {}
        self._groups: Mapping[str, SecurityGroup] = {}
        self._machine_groups: tuple[str, ...] = ()
        self._routes: dict[str, str] = {}
        self._reachable: tuple[str, ...] = ()

    async def prepare(self) -> None:
        """Make the router as settings say, whatever is there already. Raises Fault EXISTS where the subnet is taken."""
        settings = self._settings
        if len(settings.bridge) > 15:
            raise Fault(Kind.INVALID, f"link {settings.bridge}", "has more than 15 letters", "choose a shorter name")
        held = await _addresses()
        _refuse_overlap(settings, held)
        self._reachable = vpc.reached(held, settings.subnet, settings.routes)
        if settings.masquerade:
            self._reachable += vpc.connected([one for one in held if one[0] != settings.bridge])
        namespace = pin(settings)
        if not pinned(settings):
            namespace.touch()
            await programs.check(["unshare", f"--net={namespace}", "true"])
        within(namespace, lambda: _write(_SETTINGS | (_SETTINGS6 if settings.subnet6 else {})))
        await self._link_to_this_machine(namespace)
        await self.draw()
        if settings.masquerade:
            await _masquerade(settings)

    async def draw(
        self, groups: Mapping[str, SecurityGroup] | None = None, machine_groups: tuple[str, ...] = ()
    ) -> None:
        """Have the router rule by what is known now; security groups are those of the last call that gave any."""
        if groups is not None:
            self._groups, self._machine_groups = groups, machine_groups
        known = Vpc(
            subnet=self._settings.subnet,
            subnet6=self._settings.subnet6,
            reachable=self._reachable,
            nat=self._settings.masquerade,
            groups=self._groups,
            interfaces=tuple(self._interfaces.values()),
            machine=addresses.gateway(self._settings.subnet),
            machine_groups=self._machine_groups,
        )
        await self._inside(["nft", "-f", "-"], vpc.rules(known))

    async def lay(self, record: Record) -> None:
        """A link for an instance that need not be there yet: all of it that is the router's."""
        one = interface_of(record)
        lines = [f"link add name {one.link} up type veth peer name {_spare(one.link)} address {record.mac}"]
        for address in (one.address, *one.others, *([one.public] if one.public else [])):
            lines.append(f"route replace {address}/32 dev {one.link}")
            if address != one.public:
                lines.append(f"neigh replace {address} lladdr {record.mac} dev {one.link} nud permanent")
        if one.sixth:
            lines += [
                f"address replace {ROUTER6}/64 dev {one.link} nodad",
                f"route replace {one.sixth}/128 dev {one.link}",
                f"neigh replace {one.sixth} lladdr {record.mac} dev {one.link} nud permanent",
            ]
        await self._inside(["ip", "-batch", "-"], "\n".join(lines))
        self._at_once(one.link)
        await self._know(record, one)

    def hand_over(self, record: Record) -> None:
        """Give the other end to the instance whose first process is `record.pid`. Raises Fault BROKEN."""
        spare = _spare(addresses.veth(record.id))
        try:
            within(pin(self._settings), lambda: _move_link(spare, record.pid, "eth0"))
        except OSError as error:
            raise Fault(Kind.BROKEN, f"link of instance {record.id}", str(error)) from error

    async def resume(self, record: Record) -> bool:
        """Know an instance of a former controller again; false where the router has lost its link."""
        one = interface_of(record)
        if one.link not in await links(self._settings):
            return False
        await self._know(record, one)
        return True

    async def change(self, interfaces: Iterable[tuple[str, Interface]]) -> None:
        """Take what is said of these instances, by id, from now on: groups and checks. Call `draw` then."""
        for instance, one in interfaces:
            if instance in self._interfaces and self._interfaces[instance] != one:
                self._interfaces[instance] = one
                self._check(one)

    async def lead(self, routes: Mapping[str, str]) -> None:
        """The VPC's route table: network (CIDR) → link, from now on these and no others.

        A route to an instance that checks destinations is one that drops, as on EC2.
        """
        free = {one.link: one.address for one in self._interfaces.values() if not one.checked}
        wanted = {network: link if link in free else "" for network, link in routes.items()}
        lines = [f"route del {network}" for network in self._routes if network not in wanted]
        for network, link in wanted.items():
            if self._routes.get(network) != link:
                way = f"{network} via {free[link]} dev {link} onlink" if link else f"blackhole {network}"
                lines.append(f"route replace {way}")
        if lines:
            await self._inside(["ip", "-force", "-batch", "-"], "\n".join(lines))
        self._routes = wanted

    async def detach(self, record: Record) -> None:
        """Remove the instance's link, if it is still there."""
        one = self._interfaces.pop(record.id, None)
        if pinned(self._settings):
            # The kernel may have been quicker.
            await programs.run([*_enter(self._settings), "ip", "link", "del", addresses.veth(record.id)])
            if one is not None and one.ruled:
                await self.draw()

    async def _know(self, record: Record, one: Interface) -> None:
        self._interfaces[record.id] = one
        if not one.checked:
            self._check(one)
        if one.ruled:
            await self.draw()

    def _at_once(self, link: str) -> None:
        # Else the kernel waits for up to 0.8 s before it answers for others. No namespace but the first has a default.
        within(pin(self._settings), lambda: _write({f"ipv4/neigh/{link}/proxy_delay": "0"}))

    def _check(self, one: Interface) -> None:
        within(pin(self._settings), lambda: _write({f"ipv4/conf/{one.link}/rp_filter": "1" if one.checked else "0"}))

    async def _link_to_this_machine(self, namespace: Path) -> None:
        settings = self._settings
        gateway = addresses.gateway(settings.subnet)
        here = [
            f"link set {settings.bridge} addrgenmode none up",
            f"address replace {gateway}/{addresses.length(settings.subnet)} dev {settings.bridge}",
        ]
        if settings.public_subnet:
            outside = f"{addresses.gateway(settings.public_subnet)}/{addresses.length(settings.public_subnet)}"
            here.append(f"address replace {outside} dev {settings.bridge}")
        if settings.subnet6:
            # Packets there are the router's to lead on: nobody is a neighbour.
            here += [
                f"address replace {addresses.gateway(settings.subnet6)}/128 dev {settings.bridge} nodad",
                f"address replace {OWN6}/64 dev {settings.bridge} nodad",
                f"route replace {settings.subnet6} via {ROUTER6} dev {settings.bridge}",
            ]
        if not exists(settings.bridge):
            mac = addresses.mac(gateway)
            here.insert(0, f"link add {settings.bridge} address {mac} type veth peer name {MACHINE} netns {namespace}")
        await programs.check(["ip", "-batch", "-"], stdin="\n".join(here).encode())
        there = [
            "link set lo up",
            # What the router itself has to say comes from the address at which EC2 has its resolver.
            f"address replace {addresses.second(settings.subnet)}/32 dev lo",
            f"link set {MACHINE} up",
            f"route replace {gateway}/32 dev {MACHINE}",
            f"route replace default via {gateway} dev {MACHINE}",
            # Unknown addresses of the VPC are nobody's, not this machine's.
            f"route replace unreachable {settings.subnet} metric 1000",
        ]
        if settings.subnet6:
            there += [
                f"address replace {ROUTER6}/64 dev {MACHINE} nodad",
                f"route replace {addresses.gateway(settings.subnet6)}/128 via {OWN6} dev {MACHINE}",
                f"route replace unreachable {settings.subnet6} metric 2000",
            ]
        await self._inside(["ip", "-batch", "-"], "\n".join(there))
        self._at_once(MACHINE)

    async def _inside(self, argv: list[str], stdin: str) -> None:
        await programs.check([*_enter(self._settings), *argv], stdin=stdin.encode())


def interface_of(record: Record) -> Interface:
    """The instance's link and addresses."""
    return Interface(
        link=addresses.veth(record.id),
        address=record.address,
        others=(record.pod_address,) if record.pod_address else (),
        sixth=record.pod_address6,
        public=record.public_address,
        groups=record.groups,
        checked=record.checked,
    )


async def remove(settings: LocalSettings) -> None:
    """Remove the router and every link of it. Nothing there is no error."""
    if exists(settings.bridge):
        await programs.run(["ip", "link", "del", settings.bridge])
    if pinned(settings):
        for name in await links(settings):
            await programs.run([*_enter(settings), "ip", "link", "del", name])
        unmount(str(pin(settings)))
    pin(settings).unlink(missing_ok=True)
    if settings.masquerade:
        await programs.run(["nft", "delete", "table", "ip", _table(settings)])


async def links(settings: LocalSettings) -> list[str]:
    """The names of the router's links to instances."""
    if not pinned(settings):
        return []
    found = await programs.check([*_enter(settings), "ip", "-json", "link", "show", "type", "veth"])
    return [
        one.ifname for one in msgspec.json.decode(found or b"[]", type=list[_Link]) if one.ifname.startswith(_PREFIX)
    ]


def pin(settings: LocalSettings) -> Path:
    """The file by which the router's namespace is held."""
    return settings.root / "vpc"


def pinned(settings: LocalSettings) -> bool:
    """Whether the router is there."""
    return os.path.ismount(pin(settings))


def exists(link: str) -> bool:
    """Whether this machine has a link of that name."""
    # By the system call: /sys may show another namespace's links.
    try:
        return bool(socket.if_nametoindex(link))
    except OSError:
        return False


def within(namespace: Path, function: Callable[[], Result]) -> Result:
    """Run in that network namespace, on a thread that ends with it: a thread never comes back to be used for more."""

    def there() -> Result:
        descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(descriptor, CLONE_NEWNET)
        finally:
            os.close(descriptor)
        return function()

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(there).result()


def _spare(link: str) -> str:
    """The instance's end of a link, as it is called until the instance has it."""
    return "x" + link[1:]


def _enter(settings: LocalSettings) -> list[str]:
    return ["nsenter", f"--net={pin(settings)}"]


def _write(values: Mapping[str, str]) -> None:
    for name, text in values.items():
        Path("/proc/sys/net", name).write_text(text)


async def _addresses() -> list[tuple[str, str, int]]:
    """Link, address and length of each address of this machine."""
    found = await programs.check(["ip", "-json", "-4", "address", "show"])
    return [
        (device.ifname, one.local, one.prefixlen)
        for device in msgspec.json.decode(found or b"[]", type=list[_Device])
        for one in device.addr_info
        if one.local
    ]


def _refuse_overlap(settings: LocalSettings, held: Iterable[tuple[str, str, int]]) -> None:
    for link, address, length in held:
        if link != settings.bridge and addresses.overlap(f"{address}/{length}", settings.subnet):
            raise Fault(
                Kind.EXISTS,
                f"subnet {settings.subnet}",
                f"overlaps with {addresses.network(f'{address}/{length}')} of {link}",
                "choose another subnet for the local cloud",
            )


def _table(settings: LocalSettings) -> str:
    return "chinampa_" + "".join(letter if letter.isalnum() else "_" for letter in settings.cluster)


async def _masquerade(settings: LocalSettings) -> None:
    table = _table(settings)
    sources = ", ".join((settings.subnet, *([settings.public_subnet] if settings.public_subnet else [])))
    rules = (
        f"table ip {table} {{}}\ndelete table ip {table}\ntable ip {table} {{\n"
        f"  chain out {{ type nat hook postrouting priority srcnat;\n"
        f'    ip saddr {{ {sources} }} oifname != "{settings.bridge}" masquerade\n  }}\n}}\n'
    )
    await programs.check(["nft", "-f", "-"], stdin=rules.encode())
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _move_link(link: str, pid: int, name: str) -> None:
    """Give a link of this thread's network namespace to that of a process, and a name there. Raises OSError.

    By rtnetlink(7), quicker than by a program.
    """
    body = struct.pack("=BxHiII", 0, 0, socket.if_nametoindex(link), 0, 0)
    body += _attribute(_IFLA_NET_NS_PID, struct.pack("=I", pid)) + _attribute(_IFLA_IFNAME, name.encode() + b"\0")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as door:
        door.send(struct.pack("=IHHII", 16 + len(body), _RTM_NEWLINK, _REQUEST | _ACK, 1, 0) + body)
        *_, error = _ANSWER.unpack_from(door.recv(4096))
    if error:
        raise OSError(-error, f"moving {link} to process {pid}: {os.strerror(-error)}")


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value.ljust((len(value) + 3) & ~3, b"\0")
