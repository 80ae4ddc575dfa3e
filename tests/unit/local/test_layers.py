"""Generations of shared layers: which one instances see, and which goes."""

from __future__ import annotations

from pathlib import Path

from controller.clouds.local.instance_cgroups import Groups
from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.local.shared_layers import LayerShare


def test_a_generation_goes_on_after_a_restart_and_the_one_of_an_earlier_boot_does_not(tmp_path: Path) -> None:
    settings = LocalSettings(root=tmp_path, shared_layers_gib=20)
    (tmp_path / "shared/00000000-other-boot-1/layers").mkdir(parents=True)
    first = LayerShare(settings, Groups("test"))
    first.prepare()
    assert first.folder(first.generation).is_dir()
    again = LayerShare(settings, Groups("test"))
    again.prepare()
    assert again.generation == first.generation
    assert [path.name for path in again.unused(())] == ["00000000-other-boot-1"]


def test_a_generation_that_an_instance_sees_stays(tmp_path: Path) -> None:
    settings = LocalSettings(root=tmp_path, shared_layers_gib=20)
    (tmp_path / "shared/used/layers").mkdir(parents=True)
    share = LayerShare(settings, Groups("test"))
    share.prepare()
    assert share.unused({"used"}) == ()
    assert [path.name for path in share.unused({share.generation, ""})] == ["used"]


def test_where_nothing_is_to_be_shared_nothing_is(tmp_path: Path) -> None:
    share = LayerShare(LocalSettings(root=tmp_path, shared_layers_gib=0), Groups("test"))
    share.prepare()
    share.want("web:1", None)
    assert share.generation == ""
    assert not (tmp_path / "shared").exists()
    assert share.unused(()) == ()
