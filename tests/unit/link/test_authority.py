"""What the authority signs is believed by clocks that are not quite its own."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509

from controller.link.authority import Authority


def test_what_was_signed_while_the_clock_was_ahead_is_believed_once_it_is_set_back(tmp_path: Path) -> None:
    Authority(tmp_path, ["127.0.0.1"])
    shown, trusted = x509.load_pem_x509_certificates((tmp_path / "server.pem").read_bytes())
    set_back = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    for each in (shown, trusted):
        assert each.not_valid_before_utc < set_back < each.not_valid_after_utc
