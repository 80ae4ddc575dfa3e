"""What the authority signs is believed by clocks that are not quite its own, and what becomes of its own files."""

from __future__ import annotations

import datetime
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from cryptography import x509

from cellwire.faults import Fault
from controller.link import authority
from controller.link.authority import Authority


def test_what_was_signed_while_the_clock_was_ahead_is_believed_once_it_is_set_back(tmp_path: Path) -> None:
    Authority(tmp_path, ["127.0.0.1"])
    shown, trusted = x509.load_pem_x509_certificates((tmp_path / "server.pem").read_bytes())
    set_back = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    for each in (shown, trusted):
        assert each.not_valid_before_utc < set_back < each.not_valid_after_utc


def _rubbish(path: Path) -> None:
    path.write_text("rubbish")


def _anothers(path: Path) -> None:
    Authority(path.parent / "other", ["127.0.0.1"])
    shutil.copy(path.parent / "other" / path.name, path)


@pytest.mark.parametrize(
    ("file", "harm", "cause", "mend"),
    [
        ("ca.key", Path.unlink, "key is gone", "restore it"),
        ("ca.key", _rubbish, "no PEM key", "restore it"),
        ("ca.pem", _rubbish, "no PEM certificate", "restore it"),
        ("ca.key", _anothers, "not the certificate of the key", "restore both"),
    ],
)
def test_files_that_are_harmed_are_told_with_the_mend(
    tmp_path: Path, file: str, harm: Callable[[Path], None], cause: str, mend: str
) -> None:
    Authority(tmp_path, ["127.0.0.1"])
    harm(tmp_path / file)
    with pytest.raises(Fault) as raised:
        Authority(tmp_path, ["127.0.0.1"])
    assert str(tmp_path) in raised.value.thing
    assert cause in raised.value.cause
    assert mend in raised.value.mend


def test_an_authority_that_is_over_is_told_and_not_shown_to_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as short:
        short.setattr(authority, "CA_LIFE", datetime.timedelta(seconds=-1))
        with pytest.raises(Fault):
            Authority(tmp_path, ["127.0.0.1"])
    with pytest.raises(Fault, match=r"is over since .*set this machine's clock if it is wrong"):
        Authority(tmp_path, ["127.0.0.1"])


def test_a_key_that_others_may_read_becomes_its_owners_alone_and_is_told(tmp_path: Path) -> None:
    first = Authority(tmp_path, ["127.0.0.1"]).fingerprint
    (tmp_path / "ca.key").chmod(0o644)
    with structlog.testing.capture_logs() as told:
        assert Authority(tmp_path, ["127.0.0.1"]).fingerprint == first
    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600
    assert [each["log_level"] for each in told] == ["warning"]
    assert "0644" in told[0]["cause"]
