"""Offers as the command line shows them."""

from __future__ import annotations

from controller.api.priced import sheet
from controller.clouds.protocol import PriceSource
from controller.model.offer import Gpus, LaunchType, Offer, Shape

LARGE = Shape(type="m.large", architecture="amd64", cpu_millis=2000, memory_mib=8000, baseline_millis=2000)
GPU = Shape(
    type="g.large", architecture="amd64", cpu_millis=4000, memory_mib=9000, baseline_millis=4000, gpus=Gpus(1, "t4")
)


def test_a_type_is_one_row_with_spot_prices_by_zone_and_the_cheapest_comes_first() -> None:
    told = sheet(
        (
            Offer(shape=GPU, zone="a", launch_type=LaunchType.ON_DEMAND, usd_per_hour=0.5),
            Offer(shape=LARGE, zone="a", launch_type=LaunchType.ON_DEMAND, usd_per_hour=0.1),
            Offer(shape=LARGE, zone="a", launch_type=LaunchType.SPOT, usd_per_hour=0.04),
            Offer(shape=LARGE, zone="b", launch_type=LaunchType.SPOT, usd_per_hour=0.03),
        ),
        (PriceSource(part="spot", source="history", at=100.0), PriceSource(part="types", source="snapshot")),
        now=160.0,
    )

    assert [row["type"] for row in told["types"]] == ["m.large", "g.large"]
    assert told["types"][0]["spot"] == {"a": 0.04, "b": 0.03}
    assert (told["types"][0]["on_demand"], told["types"][0]["least"]) == (0.1, 0.03)
    assert told["types"][1]["gpus"] == "1 t4"
    assert [each["age_seconds"] for each in told["sources"]] == [60, None]
