"""A pod whose record was lost goes on where its cell's signed records say."""

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.model.names import CellName
from controller.pods.pod_adoption import begun
from controller.sandboxes.records import ContainerRecord


def made(name: str, attempt: int) -> ContainerRecord:
    status = cri.ContainerStatus(metadata=cri.ContainerMetadata(name=name, attempt=attempt))
    return ContainerRecord(id="1", sandbox="s", cell=CellName("c-1"), status=status.SerializeToString())


def test_a_container_was_begun_as_often_as_its_records_say() -> None:
    found = begun([made("web", 0), made("web", 2), made("first", 0)])
    assert {name: (one.starts, one.restarts) for name, one in found.items()} == {"web": (3, 2), "first": (1, 0)}
