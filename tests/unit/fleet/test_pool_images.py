"""What the latest pods had is what the next will need, and one odd pod changes nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.fleet.pool.image_forecast import MOST, ImageShares, came, wanted

PODS = st.lists(st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f"]), max_size=4), max_size=60)


def after(*pods: list[str]) -> ImageShares:
    seen = ImageShares()
    for images in pods:
        seen = came(seen, images)
    return seen


def test_an_image_of_most_pods_is_wanted_and_that_of_one_pod_alone_is_not() -> None:
    assert wanted(after(["web"])) == ()
    assert wanted(after(*[["web"]] * 9, ["odd"])) == ("web",)
    assert wanted(after(*[["web", "side"]] * 5)) == ("side", "web")


def test_what_is_new_takes_the_place_of_what_was_usual_within_some_pods() -> None:
    assert wanted(after(*[["old"]] * 100, *[["new"]] * 40)) == ("new",)


@given(PODS)
def test_shares_are_shares_and_few_images_are_wanted(pods: list[list[str]]) -> None:
    seen = after(*pods)
    assert all(0 <= share <= 1 + 1e-9 for share in seen.shares.values())
    assert len(wanted(seen)) <= MOST


def test_a_pod_cannot_fill_the_memory_nor_push_the_usual_out() -> None:
    crowd = [f"image-{number}" for number in range(5000)]
    seen = after(*[["web"]] * 10, crowd, ["x" * 100_000])
    assert len(seen.shares) <= 50
    assert wanted(seen) == ("web",)
