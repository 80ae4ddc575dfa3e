"""Which cells are told of which Services: all that they hold, and of nothing else."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cellwire.cell.v1 import cell_pb2 as wire
from controller.model.names import CellName
from controller.services import compiling
from controller.services.book import Book
from controller.services.model import Key, MappedPort, ServiceEntry, Slice, SliceEndpoint, networks

KEYS = [("default", "kubernetes"), ("a", "one"), ("a", "two"), ("b", "one")]
CELLS = [CellName("c-1"), CellName("c-2"), CellName("c-3")]
SPACES = {CELLS[0]: "a", CELLS[1]: "b", CELLS[2]: "c"}


def service(key: Key, address: str = "10.96.0.1") -> ServiceEntry:
    return ServiceEntry(key=key, cluster=(address,), addresses=(address,), ports=(MappedPort(number=80),))


def some(key: Key, *addresses: str) -> Slice:
    endpoints = tuple(SliceEndpoint(address=one) for one in addresses)
    return Slice(key=(key[0], f"{key[1]}-x"), service=key, ports={("", "tcp"): 8080}, endpoints=endpoints)


class Cell:
    """What a cell holds, as it has been told."""

    def __init__(self) -> None:
        self.held: dict[str, wire.HeldService] = {}
        self.woken = False

    def wake(self) -> None:
        self.woken = True

    def take(self, changes: wire.ServiceChanges | None) -> None:
        if changes is None:
            return
        if changes.whole:
            self.held.clear()
        for name in changes.gone:
            self.held.pop(name, None)
        self.held |= {one.name: one for one in changes.services}


class Books(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.book = Book()
        self.cells: dict[CellName, Cell] = {}
        self.wanted: dict[CellName, set[Key]] = {name: set() for name in CELLS}

    @rule(key=st.sampled_from(KEYS), number=st.integers(1, 3))
    def a_service_comes_or_changes(self, key: Key, number: int) -> None:
        self.book.put_service(service(key, f"10.96.0.{number}"))

    @rule(key=st.sampled_from(KEYS))
    def a_service_goes(self, key: Key) -> None:
        self.book.drop_service(key)

    @rule(key=st.sampled_from(KEYS), number=st.integers(0, 3))
    def endpoints_change(self, key: Key, number: int) -> None:
        self.book.put_slice(some(key, *(f"10.0.0.{one + 1}" for one in range(number))))

    @rule(key=st.sampled_from(KEYS))
    def a_slice_goes(self, key: Key) -> None:
        self.book.drop_slice((key[0], f"{key[1]}-x"))

    @rule(keys=st.sets(st.sampled_from(KEYS)))
    def all_is_listed_anew(self, keys: set[Key]) -> None:
        self.book.replace(services=[service(key) for key in keys], slices=[some(key, "10.0.0.9") for key in keys])

    @rule(name=st.sampled_from(CELLS))
    def a_cell_connects(self, name: CellName) -> None:
        cell = self.cells[name] = Cell()
        cell.woken = True
        self.book.join(name, SPACES[name], cell.wake)

    @rule(name=st.sampled_from(CELLS))
    def a_cell_goes(self, name: CellName) -> None:
        self.book.leave(name)
        self.cells.pop(name, None)
        self.wanted[name].clear()

    @rule(name=st.sampled_from(CELLS), key=st.sampled_from(KEYS))
    def a_pod_asks_for_a_name(self, name: CellName, key: Key) -> None:
        if name not in self.cells:
            return
        if key in self.book.services:
            self.wanted[name].add(key)
        sequence = self.book.want(name, key, 100)
        changes = self.book.due(name)
        self.cells[name].take(changes)
        if key in self.book.services:
            assert "/".join(key) in self.cells[name].held
        if changes is not None:
            assert changes.sequence >= sequence

    @invariant()
    def who_was_woken_holds_what_it_should(self) -> None:
        for name, cell in self.cells.items():
            if cell.woken:
                cell.woken = False
                cell.take(self.book.due(name))
            assert self.book.due(name) is None
            own = {key for key in self.book.services if key[0] == SPACES[name]} | self.book.common | self.wanted[name]
            expected = {
                "/".join(key): compiling.held(self.book.services[key], self.book.slices_of(key), "")
                for key in own & self.book.services.keys()
            }
            assert cell.held == expected


Books.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestBooks = Books.TestCase


def test_a_change_wakes_the_cells_that_hold_the_service_and_no_others() -> None:
    book = Book()
    cells = {CellName(f"c-{number}"): Cell() for number in range(100)}
    for number, (name, cell) in enumerate(cells.items()):
        book.join(name, "a" if number < 10 else "b", cell.wake)
    book.put_service(service(("a", "one")))
    assert sum(cell.woken for cell in cells.values()) == 10


def test_a_change_that_changes_nothing_in_a_kernel_wakes_nobody() -> None:
    book, cell = Book(), Cell()
    book.put_service(service(("a", "one")))
    book.put_slice(some(("a", "one"), "10.0.0.1"))
    book.join(CELLS[0], "a", cell.wake)
    cell.take(book.due(CELLS[0]))
    moved = SliceEndpoint(address="10.0.0.1", node="another")
    book.put_slice(Slice(key=("a", "one-x"), service=("a", "one"), ports={("", "tcp"): 8080}, endpoints=(moved,)))
    assert not cell.woken


def test_a_pod_may_not_have_its_cell_hold_every_service_there_is() -> None:
    book, cell = Book(), Cell()
    for number in range(5):
        book.put_service(service(("a", f"s{number}")))
    book.join(CELLS[1], "b", cell.wake)
    for number in range(5):
        book.want(CELLS[1], ("a", f"s{number}"), 3)
    cell.take(book.due(CELLS[1]))
    assert len(cell.held) == 3


def test_a_service_is_found_by_its_present_address() -> None:
    book = Book()
    book.put_service(service(("a", "one"), "10.96.0.1"))
    book.put_service(service(("a", "one"), "10.96.0.2"))
    assert (book.at("10.96.0.1"), book.at("10.96.0.2")) == (None, ("a", "one"))
    # An address that another Service has taken over stays that one's.
    book.put_service(service(("a", "two"), "10.96.0.2"))
    book.drop_service(("a", "one"))
    assert book.at("10.96.0.2") == ("a", "two")


@given(st.integers(12, 24), st.sets(st.integers(0, 2**20 - 1), min_size=1, max_size=12))
def test_the_networks_of_services_have_them_all_and_are_parts_of_their_range(length: int, hosts: set[int]) -> None:
    range_ = ip_network(f"10.96.0.0/{length}") if length > 12 else ip_network("10.96.0.0/12")
    addresses = [range_[host % range_.num_addresses] for host in hosts]
    found = [ip_network(one) for one in networks(map(str, addresses))]
    assert len(found) == 1
    assert all(one in found[0] for one in addresses)
    assert range_.supernet_of(found[0])  # type: ignore[arg-type]


def test_ranges_that_lie_apart_are_not_joined_by_what_is_between_them() -> None:
    assert networks(["10.96.0.1", "172.20.0.1", "10.96.3.9", "fd00::1"]) == (
        "10.96.0.0/22",
        "172.20.0.1/32",
        "fd00::1/128",
    )


def test_a_service_is_not_found_by_an_address_that_its_maker_says_is_outside() -> None:
    book = Book()
    book.put_service(service(("a", "one"), "10.96.0.1"))
    taking = ServiceEntry(key=("evil", "one"), cluster=("10.96.0.9",), addresses=("10.96.0.9", "10.96.0.1"))
    book.put_service(taking)
    assert book.at("10.96.0.1") == ("a", "one")
    assert book.at("10.96.0.9") == ("evil", "one")


def test_slices_are_found_by_the_addresses_of_those_with_host_names_as_they_are_now() -> None:
    book = Book()
    key, there = ("a", "db-x"), ("a", "db")
    book.put_slice(Slice(key=key, service=there, endpoints=(SliceEndpoint(address="10.0.0.1", hostname="db-0"),)))
    book.put_slice(Slice(key=key, service=there, endpoints=(SliceEndpoint(address="10.0.0.2", hostname="db-0"),)))
    assert (len(book.named_at("10.0.0.1")), len(book.named_at("10.0.0.2"))) == (0, 1)
    book.drop_slice(key)
    assert not book.named_at("10.0.0.2")


def test_the_addresses_of_the_node_are_told_where_a_service_has_a_node_port_and_to_nobody_else() -> None:
    book, cell = Book("n"), Cell()
    plain, opened = ("a", "one"), ("a", "two")
    book.put_service(service(plain))
    ports = (MappedPort(number=80, node=30080),)
    book.put_service(ServiceEntry(key=opened, cluster=("10.96.0.2",), addresses=("10.96.0.2",), ports=ports))
    book.join(CELLS[0], "a", cell.wake)
    cell.take(book.due(CELLS[0]))
    book.put_node(("10.0.0.7", "fd00::7"))
    changes = book.due(CELLS[0])
    assert changes is not None
    assert [one.name for one in changes.services] == ["a/two"]
    cell.take(changes)
    assert [list(one.node_addresses) for one in cell.held["a/two"].ports] == [["10.0.0.7", "fd00::7"]]
    book.put_node(("10.0.0.7", "fd00::7"))
    assert book.due(CELLS[0]) is None
