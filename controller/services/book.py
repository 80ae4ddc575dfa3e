"""Which Services there are, which cells hold which, and what is to be told to whom. No I/O; one owner.

A cell holds the Services of its pod's namespace and a few that every pod uses; others from the moment that its pod
asks for them. What a change costs grows with the cells that hold what has changed, and with nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cellwire.cell.v1 import cell_pb2 as wire
from controller.model.names import CellName
from controller.services import compiling
from controller.services.model import Key, ServiceEntry, Slice

# What any pod dials without asking for a name: the API server, by variables that a kubelet gives it.
COMMON: frozenset[Key] = frozenset({("default", "kubernetes")})


class CellServices:
    """Services that one cell holds, and the changes since it was told."""

    def __init__(self, namespace: str, wake: Callable[[], None]) -> None:
        self.namespace = namespace
        self.wanted: set[Key] = set()
        self.changed: set[Key] = set()
        self.sequence = 0
        self.whole = True
        self.wake = wake


class Book:
    """All of it. `node` is the name of the node whose cells these are; `common` are held by every cell."""

    def __init__(self, node: str = "", common: Iterable[Key] = COMMON) -> None:
        self.node = node
        self.common = frozenset(common)
        self.services: dict[Key, ServiceEntry] = {}
        self._slices: dict[Key, Slice] = {}
        self._of_service: dict[Key, dict[Key, Slice]] = {}
        self._cells: dict[CellName, CellServices] = {}
        self._here: dict[str, set[CellName]] = {}
        self._of_namespace: dict[str, set[Key]] = {}
        self._users: dict[Key, set[CellName]] = {}
        self._of_address: dict[str, Key] = {}
        self._compiled: dict[Key, wire.HeldService] = {}
        self._named_at: dict[str, set[Key]] = {}
        self._node_addresses: tuple[str, ...] = ()

    def put_node(self, addresses: tuple[str, ...]) -> None:
        """The node has these addresses from now on, at which its pods dial node ports."""
        if addresses != self._node_addresses:
            self._node_addresses = addresses
            for key in self.services:
                self._change(key)

    def put_service(self, service: ServiceEntry) -> None:
        """A Service is so from now on."""
        if self.services.get(service.key) == service:
            return
        self._forget_addresses(service.key)
        self.services[service.key] = service
        self._of_address |= dict.fromkeys(service.cluster, service.key)
        self._of_namespace.setdefault(service.key[0], set()).add(service.key)
        self._change(service.key)

    def drop_service(self, key: Key) -> None:
        """A Service is no more."""
        self._forget_addresses(key)
        if self.services.pop(key, None) is not None:
            self._of_namespace.get(key[0], set()).discard(key)
            self._change(key)

    def put_slice(self, one: Slice) -> None:
        """Some who answer are so from now on."""
        former = self._slices.get(one.key)
        if former == one:
            return
        if former is not None and former.service != one.service:
            self.drop_slice(one.key)
        elif former is not None:
            self._forget_named(former)
        self._slices[one.key] = one
        for endpoint in one.endpoints:
            if endpoint.hostname:
                self._named_at.setdefault(endpoint.address, set()).add(one.key)
        self._of_service.setdefault(one.service, {})[one.key] = one
        self._change(one.service)

    def drop_slice(self, key: Key) -> None:
        """They answer no more."""
        former = self._slices.pop(key, None)
        if former is None:
            return
        self._forget_named(former)
        there = self._of_service.get(former.service, {})
        there.pop(key, None)
        if not there:
            self._of_service.pop(former.service, None)
        self._change(former.service)

    def replace(self, services: Iterable[ServiceEntry] | None = None, slices: Iterable[Slice] | None = None) -> None:
        """All of a kind, as a list tells them: what is not there is no more."""
        if services is not None:
            new = {one.key: one for one in services}
            for key in [key for key in self.services if key not in new]:
                self.drop_service(key)
            for one in new.values():
                self.put_service(one)
        if slices is not None:
            fresh = {one.key: one for one in slices}
            for key in [key for key in self._slices if key not in fresh]:
                self.drop_slice(key)
            for one in fresh.values():
                self.put_slice(one)

    def slices_of(self, key: Key) -> tuple[Slice, ...]:
        """The endpoint slices of a Service."""
        return tuple(self._of_service.get(key, {}).values())

    def at(self, address: str) -> Key | None:
        """The Service that has an address of the cluster: external ones are said by whoever declares a Service."""
        return self._of_address.get(address)

    def named_at(self, address: str) -> tuple[Slice, ...]:
        """Slices in which an endpoint with a host name has an address."""
        return tuple(self._slices[key] for key in sorted(self._named_at.get(address, ())))

    def some_in(self, namespace: str) -> bool:
        """Whether a namespace has any Service."""
        return bool(self._of_namespace.get(namespace))

    def _forget_named(self, one: Slice) -> None:
        for endpoint in one.endpoints:
            if (there := self._named_at.get(endpoint.address)) is not None:
                there.discard(one.key)
                if not there:
                    del self._named_at[endpoint.address]

    def _forget_addresses(self, key: Key) -> None:
        former = self.services.get(key)
        for address in former.cluster if former is not None else ():
            if self._of_address.get(address) == key:
                del self._of_address[address]

    def join(self, name: CellName, namespace: str, wake: Callable[[], None]) -> None:
        """A cell wants to be told, from the beginning; `wake` is called when there is something."""
        former = self._cells.get(name)
        self._here.setdefault(namespace, set()).add(name)
        cell = self._cells[name] = CellServices(namespace, wake)
        cell.wanted = set(former.wanted) if former is not None and former.namespace == namespace else set()
        cell.sequence = former.sequence if former is not None else 0
        for key in cell.wanted:
            self._users.setdefault(key, set()).add(name)

    def leave(self, name: CellName) -> None:
        """A cell is no more."""
        cell = self._cells.pop(name, None)
        if cell is None:
            return
        here = self._here.get(cell.namespace, set())
        here.discard(name)
        if not here:
            self._here.pop(cell.namespace, None)
        for key in cell.wanted:
            users = self._users.get(key)
            if users is not None:
                users.discard(name)
                if not users:
                    del self._users[key]

    def want(self, name: CellName, key: Key, most: int) -> int:
        """The cell's pod is about to use a Service: the sequence by which it holds it, of at most so many."""
        cell = self._cells[name]
        known = key in cell.wanted or key not in self.services or self._from_the_start(cell, key)
        if known or len(cell.wanted) >= most:
            return cell.sequence + (1 if key in cell.changed or cell.whole else 0)
        cell.wanted.add(key)
        self._users.setdefault(key, set()).add(name)
        cell.changed.add(key)
        cell.wake()
        return cell.sequence + 1

    def due(self, name: CellName) -> wire.ServiceChanges | None:
        """Changes to be told to a cell now, which count as told then; None where it knows all."""
        cell = self._cells[name]
        if cell.whole:
            keys = {*self._of_namespace.get(cell.namespace, ()), *cell.wanted, *self.common} & self.services.keys()
            cell.whole = False
            cell.changed.clear()
            cell.sequence += 1
            return wire.ServiceChanges(sequence=cell.sequence, whole=True, services=map(self._held, sorted(keys)))
        if not cell.changed:
            return None
        changed, cell.changed = cell.changed, set()
        cell.sequence += 1
        return wire.ServiceChanges(
            sequence=cell.sequence,
            services=[self._held(key) for key in sorted(changed) if key in self.services],
            gone=["/".join(key) for key in sorted(changed) if key not in self.services],
        )

    def holders(self, key: Key) -> frozenset[CellName]:
        """The cells that hold a Service, or would if it were there."""
        from_the_start = self._cells if key in self.common else self._here.get(key[0], ())
        return frozenset(from_the_start) | frozenset(self._users.get(key, ()))

    def _from_the_start(self, cell: CellServices, key: Key) -> bool:
        return key[0] == cell.namespace or key in self.common

    def _held(self, key: Key) -> wire.HeldService:
        found = self._compiled.get(key)
        if found is None:
            found = self._compiled[key] = compiling.held(
                self.services[key], self.slices_of(key), self.node, self._node_addresses
            )
        return found

    def _change(self, key: Key) -> None:
        former = self._compiled.pop(key, None)
        # What changes nothing in a kernel, such as a label of a pod, is told to nobody.
        if former is not None and key in self.services and self._held(key) == former:
            return
        for name in self.holders(key):
            cell = self._cells[name]
            cell.changed.add(key)
            cell.wake()
