"""Folders that are made ahead are those of the next container, and are missed by none."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellagent.runtime.spare import FOLDERS, SpareLayers


def folders(layers: Path) -> set[str]:
    return {each.name for each in layers.iterdir()}


def test_a_container_takes_the_folders_that_were_made_ahead(tmp_path: Path) -> None:
    spare = SpareLayers(tmp_path / "spare")
    spare.prepare()
    made = (tmp_path / "spare").stat().st_ino
    spare.take(tmp_path / "one")
    assert (tmp_path / "one").stat().st_ino == made
    assert folders(tmp_path / "one") == set(FOLDERS)
    assert not (tmp_path / "spare").exists()


@pytest.mark.parametrize("there", [False, True])
def test_a_container_has_its_folders_where_none_were_made_ahead(tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "one" / "work").mkdir(parents=True)
    SpareLayers(tmp_path / "spare").take(tmp_path / "one")
    assert folders(tmp_path / "one") == set(FOLDERS)


def test_what_somebody_has_left_in_a_containers_place_is_kept(tmp_path: Path) -> None:
    (tmp_path / "one" / "work").mkdir(parents=True)
    spare = SpareLayers(tmp_path / "spare")
    spare.prepare()
    spare.take(tmp_path / "one")
    assert folders(tmp_path / "one") == set(FOLDERS)


@pytest.mark.parametrize("left", [("spare.new",), ("spare.new", "spare.new/upper"), ("spare.new", "spare.new/work")])
def test_what_was_half_made_is_made_whole(tmp_path: Path, left: tuple[str, ...]) -> None:
    for each in left:
        (tmp_path / each).mkdir()
    spare = SpareLayers(tmp_path / "spare")
    spare.prepare()
    spare.prepare()
    assert folders(tmp_path) == {"spare"}
    assert folders(tmp_path / "spare") == set(FOLDERS)


def test_a_place_where_nothing_can_be_made_is_told_of_by_who_needs_it(tmp_path: Path) -> None:
    spare = SpareLayers(tmp_path / "nowhere" / "spare")
    spare.prepare()
    with pytest.raises(FileNotFoundError):
        spare.take(tmp_path / "nowhere" / "one")
