"""A cell that is not believed may come back later each time, and is a cell like others after a while."""

from controller.link.distrust import FIRST_SECONDS, FORGOTTEN_SECONDS, LONGEST_SECONDS, Distrust
from controller.model.names import CellName

LIAR, OTHER = CellName("c-1"), CellName("c-2")


def test_each_lie_keeps_a_cell_out_for_longer_and_no_other_cell() -> None:
    distrust, now, waits = Distrust(), 100.0, list[float]()
    for _ in range(30):
        waits.append(distrust.lied(LIAR, now))
        assert distrust.keeps_out(LIAR, now + waits[-1] - 0.01)
        assert not distrust.keeps_out(LIAR, now + waits[-1])
        assert not distrust.keeps_out(OTHER, now)
        now += waits[-1]
    assert waits[:3] == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS]
    assert waits[-1] == LONGEST_SECONDS


def test_lies_are_forgotten() -> None:
    distrust = Distrust()
    for _ in range(5):
        distrust.lied(LIAR, 0.0)
    assert distrust.lied(LIAR, FORGOTTEN_SECONDS) == FIRST_SECONDS
    distrust.lied(OTHER, 2 * FORGOTTEN_SECONDS)
    assert not distrust.keeps_out(LIAR, 0.0), "nothing is kept of it"
