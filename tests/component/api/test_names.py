"""The API's certificate holds whatever the kubeconfig says, and follows it; with plain kubectl."""

import json
import shutil
import socket
import ssl
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from cellwire.faults import Fault
from controller.api.certificates import Certified
from controller.api.settings import ApiSettings
from controller.link.authority import Authority
from tests.support.pods_api import PodsApiWorld, world

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed: NOTHING here ran")


def _cluster(it: PodsApiWorld) -> dict[str, str]:
    return json.loads(Path(it.kubeconfig).read_text())["clusters"][0]["cluster"]


async def test_the_kubeconfig_names_the_server_and_says_nothing_else_of_its_certificate(tmp_path: Path) -> None:
    async with world(tmp_path, names=("localhost",)) as it:
        assert _cluster(it)["server"].startswith("https://localhost:")
        assert "tls-server-name" not in _cluster(it)
        assert "default" in await it.ok("get", "namespaces")


async def test_every_address_of_the_machine_verifies_where_all_are_listened_on(tmp_path: Path) -> None:
    async with world(tmp_path, host="0.0.0.0", names=("api.example", "127.0.0.1")) as it:
        port = _cluster(it)["server"].rpartition(":")[2]
        assert _cluster(it)["server"] == f"https://api.example:{port}"
        for args in (
            (f"--server=https://127.0.0.1:{port}",),
            (f"--server=https://127.0.0.1:{port}", "--tls-server-name=api.example"),
            (f"--server=https://127.0.0.1:{port}", f"--tls-server-name={socket.gethostname()}"),
        ):
            assert "default" in await it.ok("get", "namespaces", *args)
        wrong = f"--server=https://127.0.0.1:{port}", "--tls-server-name=other.example"
        assert "certificate is valid for" in (await it.kubectl("get", "namespaces", *wrong)).err


def test_a_certificate_is_made_anew_when_it_nears_its_end_and_not_before(tmp_path: Path) -> None:
    authority, made = Authority(tmp_path, []), list[tuple[str, ...]]()

    def certify(names: Sequence[str]) -> tuple[Path, Path]:
        made.append(tuple(names))
        return authority.certify("api", names)

    for renew_after, times in ((3600.0, 1), (0.0, 2)):
        made.clear()
        settings = ApiSettings(folder=tmp_path, certify=certify, authority=authority.pem, renew_after=renew_after)
        certified = Certified(settings)
        certified.renew()
        certified.renew()
        assert len(made) == times


def test_what_is_no_name_is_refused_by_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path, [])
    settings = ApiSettings(
        folder=tmp_path, certify=partial(authority.certify, "api"), authority=authority.pem, names=("bücher.example",)
    )
    with pytest.raises(Fault, match="bücher"):
        Certified(settings).renew()


def test_the_certificate_holds_names_and_addresses_as_what_they_are(tmp_path: Path) -> None:
    authority = Authority(tmp_path, [])
    path, _ = authority.certify("api", ["api.example", "10.0.0.7", "::1"])
    found = ssl._ssl._test_decode_cert(str(path))["subjectAltName"]  # type: ignore[attr-defined]
    assert found == (("DNS", "api.example"), ("IP Address", "10.0.0.7"), ("IP Address", "0:0:0:0:0:0:0:1"))
