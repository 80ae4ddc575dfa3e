"""A pod whose record was lost goes on where its cell's signed records say."""

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.model.names import CellName
from controller.pods.pod_adoption import begun, with_images
from controller.sandboxes.records import ContainerRecord


def made(name: str, attempt: int, image: str = "") -> ContainerRecord:
    metadata = cri.ContainerMetadata(name=name, attempt=attempt)
    status = cri.ContainerStatus(metadata=metadata, image=cri.ImageSpec(image="sha256:1", user_specified_image=image))
    return ContainerRecord(id="1", sandbox="s", cell=CellName("c-1"), status=status.SerializeToString())


def test_a_container_was_begun_as_often_as_its_records_say() -> None:
    found = begun([made("web", 0), made("web", 2), made("first", 0)])
    assert {name: (one.starts, one.restarts) for name, one in found.items()} == {"web": (3, 2), "first": (1, 0)}


def test_a_pod_whose_image_was_changed_is_known_by_the_last_one() -> None:
    spec = {"containers": [{"name": "web", "image": "web:1"}, {"name": "log", "image": "log:1"}], "nodeName": "c"}
    spec |= {"initContainers": [{"name": "first", "image": "first:1"}]}
    found = with_images(spec, [made("web", 1, "web:2"), made("web", 0, "web:1"), made("first", 0, "first:1")])
    assert found == spec | {"containers": [{"name": "web", "image": "web:2"}, {"name": "log", "image": "log:1"}]}
