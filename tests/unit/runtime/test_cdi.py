"""What makers' device specifications make of a container's spec; which file counts, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cellagent.runtime import cdi
from cellwire.faults import Fault

NULL = {"path": "/dev/gpu0", "hostPath": "/dev/null"}
PLAIN: dict[str, Any] = {
    "process": {"env": ["PATH=/bin", "GPUS=none"], "user": {"uid": 0, "additionalGids": [7]}},
    "mounts": [{"destination": "/proc"}, {"destination": "/opt/driver", "source": "/old"}],
    "linux": {"devices": [], "resources": {"devices": [{"allow": False}]}},
}


def write(folder: Path, name: str, edits: dict[str, Any], *, device: str = "all", **more: Any) -> None:
    folder.mkdir(exist_ok=True)
    devices = [{"name": device, "containerEdits": edits}]
    told = {"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": devices, **more}
    (folder / name).write_text(json.dumps(told))


def made(folder: Path, *names: str, privileged: bool = False) -> dict[str, Any]:
    found = cdi.find(names or ["nvidia.com/gpu=all"], [folder / "etc", folder / "run"])
    return cdi.applied(PLAIN, found, privileged=privileged)


def test_a_device_is_made_and_may_be_opened_as_the_specification_says(tmp_path: Path) -> None:
    write(tmp_path / "etc", "a.json", {"deviceNodes": [{**NULL, "permissions": "rw", "uid": 5}]})
    linux = made(tmp_path)["linux"]
    (device,) = linux["devices"]
    assert (device["path"], device["type"], device["major"], device["minor"], device["uid"]) == (
        "/dev/gpu0",
        "c",
        1,
        3,
        5,
    )
    assert linux["resources"]["devices"][-1] == {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}
    assert PLAIN["linux"]["resources"]["devices"] == [{"allow": False}], "another container has none of it"
    assert made(tmp_path, privileged=True)["linux"]["resources"] == PLAIN["linux"]["resources"]


def test_words_replace_those_of_their_name_and_mounts_those_of_their_place(tmp_path: Path) -> None:
    mount = {"hostPath": "/usr/lib/driver", "containerPath": "/opt/driver"}
    write(tmp_path / "etc", "a.json", {"env": ["GPUS=all"], "mounts": [mount], "additionalGids": [44, 7]})
    spec = made(tmp_path)
    assert spec["process"]["env"] == ["PATH=/bin", "GPUS=all"]
    assert spec["process"]["user"]["additionalGids"] == [7, 44]
    assert [one.get("source") for one in spec["mounts"]] == [None, "/usr/lib/driver"]


def test_a_files_own_edits_are_made_once_for_all_its_devices(tmp_path: Path) -> None:
    devices = [{"name": name, "containerEdits": {"env": [f"GPU{name}=1"]}} for name in ("0", "1")]
    hook = {"hookName": "createContainer", "path": "/bin/hook", "args": ["hook", "x"]}
    write(tmp_path / "etc", "a.json", {}, devices=devices, containerEdits={"hooks": [hook]})
    spec = made(tmp_path, "nvidia.com/gpu=0", "nvidia.com/gpu=1", "nvidia.com/gpu=0")
    assert spec["hooks"] == {"createContainer": [{"path": "/bin/hook", "args": ["hook", "x"], "env": []}]}
    assert spec["process"]["env"][-2:] == ["GPU0=1", "GPU1=1"]


def test_the_later_folder_goes_before_the_earlier(tmp_path: Path) -> None:
    write(tmp_path / "etc", "a.json", {"env": ["FROM=etc"]})
    write(tmp_path / "run", "b.json", {"env": ["FROM=run"]})
    assert "FROM=run" in made(tmp_path)["process"]["env"]


def test_a_broken_file_keeps_nobody_from_the_devices_of_another(tmp_path: Path) -> None:
    write(tmp_path / "etc", "a.json", {"env": ["FROM=etc"]})
    (tmp_path / "etc/b.json").write_text("{")
    (tmp_path / "etc/c.yaml").write_text("- [")
    (tmp_path / "etc/readme.txt").write_text("no specification")
    assert "FROM=etc" in made(tmp_path)["process"]["env"]
    with pytest.raises(Fault, match=r"gpu=1: no specification.*b\.json.*c\.yaml.*nvidia-ctk"):
        made(tmp_path, "nvidia.com/gpu=1")


@pytest.mark.parametrize(
    ("edits", "more", "why"),
    [
        ({"deviceNodes": [{"path": "/dev/not-there"}]}, {}, "/dev/not-there"),
        ({"deviceNodes": [{"path": "/etc/passwd"}]}, {}, "no device"),
        ({"hooks": [{"hookName": "before", "path": "/x"}]}, {}, "hook before"),
        ({"intelRdt": {"closID": "x"}}, {}, "intelRdt"),
        ({}, {"cdiVersion": "9.0.0"}, "9.0.0"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    tmp_path: Path, edits: dict[str, Any], more: dict[str, Any], why: str
) -> None:
    write(tmp_path / "etc", "a.json", edits, **more)
    with pytest.raises(Fault, match=why):
        made(tmp_path)


def test_a_device_that_two_files_of_one_folder_tell_of_is_nobodys(tmp_path: Path) -> None:
    write(tmp_path / "etc", "a.json", {})
    write(tmp_path / "etc", "b.json", {})
    with pytest.raises(Fault, match="2 specifications"):
        made(tmp_path)


@pytest.mark.parametrize("name", ["gpu", "nvidia.com/gpu", "nvidia.com/gpu=", "../x=all", "a/b=c\n"])
def test_what_is_no_devices_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Fault, match="vendor/class=name"):
        made(tmp_path, name)
