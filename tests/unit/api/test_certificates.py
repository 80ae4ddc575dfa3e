"""Names in the API's certificate, and the one in the kubeconfig."""

from __future__ import annotations

from pathlib import Path

from controller.api.certificates import dialled, names, own_names
from controller.api.settings import ApiSettings

TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 10.0.0.0
        /24 link UNICAST
        |-- 10.0.0.7
           /32 host LOCAL
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
"""
OWN = ("box", "10.0.0.7", "127.0.0.1")


def _settings(**own: object) -> ApiSettings:
    return ApiSettings(folder=Path(), certify=lambda _: (Path(), Path()), authority=b"", **own)  # type: ignore[arg-type]


def test_the_machine_is_called_by_its_name_and_its_own_addresses() -> None:
    sixth = "fe80000000000000000000000000000a 02 40 20 80 eth0\n"
    assert own_names(TRIE, sixth, "box") == ("box", "10.0.0.7", "127.0.0.1", "fe80::a")


def test_who_listens_on_all_addresses_is_called_by_each() -> None:
    wanted = names(_settings(host="0.0.0.0", names=("api.example",), pods_address="10.9.0.1"), OWN)
    assert set(wanted) >= {"api.example", "box", "10.0.0.7", "127.0.0.1", "10.9.0.1", "localhost"}
    assert "0.0.0.0" not in wanted


def test_who_listens_on_one_address_is_called_by_that() -> None:
    assert set(names(_settings(host="127.0.0.1"), OWN)) >= {"127.0.0.1", "localhost"}
    assert "10.0.0.7" not in names(_settings(host="127.0.0.1"), OWN)


def test_the_kubeconfig_says_the_first_name_of_the_settings_or_what_can_be_dialled() -> None:
    assert dialled(_settings(names=("api.example", "10.0.0.7"))) == "api.example"
    assert [dialled(_settings(host=host)) for host in ("0.0.0.0", "::", "10.0.0.7")] == ["127.0.0.1", "::1", "10.0.0.7"]
