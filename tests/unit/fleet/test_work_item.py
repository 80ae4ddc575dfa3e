"""A cell whose plan fails is tried later and later; a cell that is gone leaves nothing but those who still wait."""

from __future__ import annotations

from controller.fleet.work_item import WorkItem


def test_the_wait_after_a_failure_doubles_up_to_a_bound_and_a_success_makes_it_short_again() -> None:
    item = WorkItem()
    assert [item.failed(100.0) for _ in range(8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert item.not_before == 130.0
    item.backoff = 0.0
    assert item.failed(200.0) == 0.5


def test_what_is_left_of_a_cell_that_is_gone_is_who_waits_for_it() -> None:
    item = WorkItem(missing_since=1.0, terminated_at=2.0, dirty=True, backoff=4.0, callers=1)
    left = item.without_cell()
    assert (left, left.idle) == (WorkItem(callers=1), False)
