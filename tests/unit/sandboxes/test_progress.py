"""A long pull is told now and then, a short one is not, and a cell cannot fill a pod's events."""

from __future__ import annotations

from controller.link.report_checks import Happened, Pull
from controller.model.names import CellName
from controller.sandboxes.progress import EACH_SECONDS, Progress

CELL = CellName("c-1")


def pulling(done: int, total: int = 400 << 20, image: str = "web:1") -> Happened:
    return Happened(
        at=1.0, reason="Pulling", message="", pull=Pull(image=image, bytes_done=done << 20, bytes_total=total)
    )


def test_a_pull_is_told_each_ten_seconds_after_its_first() -> None:
    progress, said = Progress(), list[str]()
    for second in range(26):
        if news := progress.news(CELL, pulling(second * 10), 1000.0 + second):
            said.append(news[2])
    assert said == ['Pulling image "web:1": 25 % of 400.0 MiB', 'Pulling image "web:1": 50 % of 400.0 MiB']
    assert progress.news(CELL, pulling(9, 0), 1000.0 + 26 + EACH_SECONDS) == (
        "Normal",
        "Pulling",
        'Pulling image "web:1": 9.0 MiB so far',
    )


def test_a_cell_that_names_many_images_says_no_more_than_one() -> None:
    progress = Progress()
    said = [progress.news(CELL, pulling(1, image=f"web:{n}"), 1000.0 + n / 100) for n in range(3000)]
    assert len([one for one in said if one]) == 2


def test_that_a_cell_is_not_believed_is_told_as_a_warning_and_other_words_of_its_are_not() -> None:
    warning = Happened(at=1.0, reason="NotBelieved", message="it lies", warning=True)
    progress = Progress()
    assert progress.news(CELL, warning, 1.0) == ("Warning", "NotBelieved", "it lies")
    assert progress.news(CELL, warning, 2.0) is None
    assert Progress().news(CELL, Happened(at=1.0, reason="Anything", message="x"), 1.0) is None
