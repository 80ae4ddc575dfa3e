"""What a cell tells of its pod is not taken on trust."""

from controller.pods.adoption import MOST_STARTS, begun
from controller.sandboxes.told import Made


def made(name: str, attempt: int) -> Made:
    return Made(id="1", name=name, attempt=attempt, created=False, created_at=0)


def test_a_container_was_begun_as_often_as_its_cell_has_made_it() -> None:
    spec = {"containers": [{"name": "web"}, {"name": "new"}], "initContainers": [{"name": "first"}]}
    found = begun(spec, [made("web", 0), made("web", 2), made("first", 0)])
    assert {name: one.starts for name, one in found.items()} == {"web": 3, "first": 1}


def test_a_container_that_the_pod_does_not_have_and_a_count_that_cannot_be_are_passed_over() -> None:
    spec = {"containers": [{"name": "web"}]}
    told = [made("../../another", 1), made("web", MOST_STARTS), made("web", 2**32 - 1), made("web", 1)]
    assert {name: one.starts for name, one in begun(spec, told).items()} == {"web": 2}
