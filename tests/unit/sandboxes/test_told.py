"""What a cell tells comes in as its own and bounded, or ends its session."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellagent.network import dns_messages
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from controller.sandboxes import told
from controller.sandboxes.told import UNTRUE, Pace, Paces

MINE, OTHERS, SANDBOX = "a" * 64, "b" * 64, "5" * 64
BIG = "x" * (told.LARGEST_PART + 1)


def status(**values: object) -> cri.ContainerStatus:
    return cri.ContainerStatus(**{"id": MINE, "state": cri.CONTAINER_RUNNING} | values)  # type: ignore[arg-type]


def ready(**values: object) -> cri.PodSandboxStatus:
    return cri.PodSandboxStatus(**{"id": SANDBOX} | values)  # type: ignore[arg-type]


def owner(container: str) -> str | None:
    return {MINE: SANDBOX, OTHERS: "6" * 64}.get(container)


def event(*containers: cri.ContainerStatus, sandbox: cri.PodSandboxStatus | None = None) -> cri.ContainerEventResponse:
    return cri.ContainerEventResponse(containers_statuses=containers, pod_sandbox_status=sandbox)


def asked(name: str, type_: int = dns_messages.A) -> wire.ServicesOutput:
    return wire.ServicesOutput(question=wire.NameQuestion(id=7, name=name, type=type_))


LIES: dict[str, Callable[[], object]] = {
    "another container": lambda: told.container(status(id=OTHERS), MINE),
    "a state that is none": lambda: told.container(
        cri.ContainerStatus.FromString(b"\x0a\x40" + b"a" * 64 + b"\x18\x63"), MINE
    ),
    "a time before all times": lambda: told.container(status(started_at=-1), MINE),
    "a time after all times": lambda: told.container(status(finished_at=2**63 - 1), MINE),
    "an endless name": lambda: told.container(status(image_ref="x" * 5000), MINE),
    "an endless status": lambda: told.container(status(annotations={"a": BIG}), MINE),
    "another sandbox": lambda: told.sandbox(ready(id=OTHERS), SANDBOX),
    "an address that is none": lambda: told.sandbox(ready(network=cri.PodSandboxNetworkStatus(ip="../1")), SANDBOX),
    "endless addresses": lambda: told.sandbox(
        ready(network=cri.PodSandboxNetworkStatus(additional_ips=[cri.PodIP(ip="10.0.0.1")] * 17)), SANDBOX
    ),
    "an event of another sandbox": lambda: told.event(event(sandbox=ready(id=OTHERS)), SANDBOX, owner),
    "an event of another's container": lambda: told.event(event(status(id=OTHERS)), SANDBOX, owner),
    "an endless event": lambda: told.event(event(*[status(id="c" * 64)] * 1001), SANDBOX, owner),
    "a new container that is another's": lambda: told.fresh(OTHERS, "container", lambda name: name == OTHERS),
    "an id with a path in it": lambda: told.fresh("../../etc", "container", lambda _: False),
    "an empty id": lambda: told.identifier("", "container"),
    "an endless id": lambda: told.identifier("a" * 129, "container"),
    "an id of two lines": lambda: told.identifier("a\n", "container"),
    "a list of another sandbox": lambda: told.containers(
        cri.ListContainersResponse(containers=[cri.Container(id=MINE, pod_sandbox_id=OTHERS)]), SANDBOX
    ),
    "an endless list": lambda: told.containers(
        cri.ListContainersResponse(containers=[cri.Container(id=MINE)] * 1001), SANDBOX
    ),
    "an image without a name": lambda: told.reference(""),
    "an image of an endless name": lambda: told.reference("x" * 5000),
    "an image of control characters": lambda: told.reference("a\x1b[2J"),
    "endless images": lambda: told.images([cri.Image(id="i")] * 10_001),
    "endless output": lambda: told.output(cri.ExecSyncResponse(stdout=bytes(told.LARGEST_OUTPUT + 1))),
    "a name longer than DNS has": lambda: told.services(asked("x" * 256), 1, 1),
    "a name of what is no byte": lambda: told.services(asked("\u0142"), 1, 1),
    "a type beyond all types": lambda: told.services(asked("web", 1 << 16), 1, 1),
    "an address with a zone": lambda: told.sandbox(
        ready(network=cri.PodSandboxNetworkStatus(ip="2001:db8::1%\n\x1b[31m")), SANDBOX
    ),
    "a dialled address with a zone": lambda: told.services(wire.ServicesOutput(dialled="fd00::1%x"), 1, 1),
    "a dialled address that is none": lambda: told.services(wire.ServicesOutput(dialled="web"), 1, 1),
    "a change that nobody told": lambda: told.services(wire.ServicesOutput(applied=2), 1, 1),
    "a change told twice": lambda: told.services(wire.ServicesOutput(applied=1), 1, 0),
    "a failure of nothing": lambda: told.services(wire.ServicesOutput(failure=wire.SessionFailure()), 1, 0),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_what_no_honest_agent_says_ends_the_session(lie: Callable[[], object]) -> None:
    with pytest.raises(Fault) as found:
        lie()
    assert found.value.reason == UNTRUE
    assert len(str(found.value)) < 300


def test_what_is_merely_long_is_cut_and_paths_are_never_told() -> None:
    mounts = [cri.Mount(host_path="/etc/shadow", container_path="/x")]
    found = told.container(
        status(reason="r" * 10_000, message="m" * 100_000, log_path="/etc/passwd", mounts=mounts), MINE
    )
    assert (len(found.reason), len(found.message), found.log_path) == (told.REASON, told.MESSAGE, "")
    odd = told.container(status(reason="Er\x1b[31mror\n", message="a\0b\nc"), MINE)
    assert (odd.reason, odd.message) == ("Er?[31mror\n", "a?b\nc")
    assert [mount.host_path for mount in found.mounts] == [""]


@given(st.binary(max_size=300), st.integers(0, 300))
def test_of_a_file_comes_no_more_than_was_asked_for(data: bytes, limit: int) -> None:
    found = told.file_end(data, limit)
    assert len(found) <= limit
    assert data.endswith(found)


def test_an_event_tells_of_the_cells_own_and_passes_over_what_nobody_knows() -> None:
    news = told.event(event(status(), status(id="c" * 64), sandbox=ready()), SANDBOX, owner)
    assert [one.id for one in news.containers] == [MINE]
    assert news.sandbox is not None


def test_an_address_that_the_cloud_has_not_given_the_cell_is_none_of_its_pods() -> None:
    network = cri.PodSandboxNetworkStatus(ip="10.0.0.66", additional_ips=[cri.PodIP(ip="10.0.0.7")])
    found = told.sandbox(ready(network=network), SANDBOX, frozenset({"10.0.0.7", "10.0.0.6"}))
    assert (found.network.ip, list(found.network.additional_ips)) == ("10.0.0.7", [])
    assert told.addresses(ready(network=network)) == ("10.0.0.66", "10.0.0.7"), "where none is recorded"


def test_of_what_a_runtime_can_do_the_known_features_are_heard_and_nothing_else() -> None:
    features = cri.RuntimeHandlerFeatures(user_namespaces=True)
    claimed = cri.StatusResponse(
        status=cri.RuntimeStatus(conditions=[cri.RuntimeCondition(type="RuntimeReady", status=False)]),
        info={"config": BIG[:1000]},
        runtime_handlers=[cri.RuntimeHandler(name=name, features=features) for name in ("", "", "x" * 1000)],
        features=cri.RuntimeFeatures(supplemental_groups_policy=True),
    )
    found = told.abilities(claimed, ("", "chinampa"))
    assert [(one.name, one.features) for one in found.runtime_handlers] == [("", features)]
    assert found.features == claimed.features
    assert not found.info
    assert not found.HasField("status")
    with pytest.raises(Fault):
        told.abilities(cri.StatusResponse(info={"a": BIG}), ("",))


@given(st.lists(st.tuples(st.floats(0.001, 5), st.floats(0.1, 50)), max_size=60))
def test_a_cell_says_no_more_than_its_pace_allows(said: list[tuple[float, float]]) -> None:
    pace, now, taken = Pace(10.0, 100.0, 0.0), 0.0, 0.0
    for pause, cost in said:
        now += pause
        if not pace.take(cost, now):
            break
        taken += cost
        assert taken <= 100.0 + 10.0 * now + 1e-6


def test_who_keeps_to_the_pace_is_never_cut_off() -> None:
    pace = Pace(10.0, 100.0, 0.0)
    assert all(pace.take(1.0, number / 10) for number in range(1, 1000))


def test_of_those_who_come_once_no_pace_is_kept_and_no_debt_is_forgiven() -> None:
    paces, now = Paces(10.0, 100.0), 0.0
    assert paces.of("debtor", now).wait(600.0, now) == 50.0
    for number in range(400):
        now += 0.125
        assert paces.of(f"guest-{number}", now).take(1.0, now)
    assert len(paces) <= 3, "the debtor, the last guest, and one who has just been"
    assert paces.of("debtor", now).wait(0.0, now) == 0.0
    assert not paces.of("debtor", now).take(1.0, now), "its debt is paid, and no more"


@given(st.lists(st.binary(min_size=1, max_size=63), max_size=6), st.integers(0, 0xFFFF))
def test_whatever_a_pod_asks_of_dns_is_no_lie_of_its_cell(labels: list[bytes], type_: int) -> None:
    name = b"".join(bytes([len(one)]) + one for one in labels) + b"\0"
    query = struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0) + name + struct.pack(">HH", type_, 1)
    question = dns_messages.question(query)
    if question is None:
        assert len(name) > 255, "an agent passes on each name that DNS allows"
        return
    crossed = wire.ServicesOutput.FromString(asked(question.name, question.type).SerializeToString())
    assert told.services(crossed, 0, 0) == told.NameQuery(7, question.name, type_)


def test_what_a_cell_says_of_services_comes_in() -> None:
    assert told.services(wire.ServicesOutput(applied=3), 4, 2) == 3
    assert told.services(wire.ServicesOutput(dialled="10.96.0.7"), 0, 0) == told.Dialled("10.96.0.7")
    failure = wire.ServicesOutput(failure=wire.SessionFailure(message="f" * 10_000))
    assert told.services(failure, 1, 1) == told.Unapplied("f" * told.REASON)
    assert told.services(wire.ServicesOutput(), 0, 0) is None, "a later agent may say more"
