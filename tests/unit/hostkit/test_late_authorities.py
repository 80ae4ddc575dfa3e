"""The machine's certificate authorities are read late, and trusted as ever."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from hostkit import late_authorities
from tests.support.authorities import FileAuthority


def test_a_context_reads_the_machines_authorities_when_it_is_first_used_and_is_then_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(FileAuthority(tmp_path / "mine").ca))
    with late_authorities.awaited():
        late = ssl.create_default_context()
    whole = ssl.create_default_context()
    assert (late.cert_store_stats()["x509_ca"], whole.cert_store_stats()["x509_ca"]) == (0, 1)
    late.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="registry.test")
    assert type(late) is ssl.SSLContext
    for one in ("cert_store_stats", "get_ca_certs"):
        assert getattr(late, one)() == getattr(whole, one)()
    for one in ("verify_mode", "check_hostname", "verify_flags", "options", "minimum_version"):
        assert getattr(late, one) == getattr(whole, one)
