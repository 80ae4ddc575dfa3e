"""Whom the EC2 cloud believes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cellwire.faults import Fault, Kind
from controller.clouds.ec2 import identity_document
from controller.clouds.ec2.identity_document import Verifier
from tests.support.ec2_cloud import DocumentSigner

DOCUMENT = {
    "accountId": "123456789012",
    "architecture": "x86_64",
    "availabilityZone": "us-east-1a",
    "billingProducts": None,
    "imageId": "ami-1",
    "instanceId": "i-0123456789abcdef0",
    "instanceType": "t3.small",
    "pendingTime": "2026-11-24T02:00:00Z",
    "privateIp": "10.0.0.4",
    "region": "us-east-1",
    "version": "2017-09-30",
}


def verifier(signer: DocumentSigner) -> Verifier:
    return Verifier(identity_document.keys_in(signer.folder), "123456789012", "us-east-1")


# AWS's own keys have 1024 bits.
@pytest.mark.parametrize("bits", [1024, 2048])
def test_a_document_that_the_regions_certificate_signed_says_who_it_is(tmp_path: Path, bits: int) -> None:
    signer = DocumentSigner(tmp_path, bits)
    document = json.dumps(DOCUMENT, indent=2).encode()
    who = verifier(signer).verify(document, signer.sign(document))
    assert (who.instance, who.address, who.zone) == ("i-0123456789abcdef0", "10.0.0.4", "us-east-1a")
    assert who.pending_at == 1795485600.0


@pytest.mark.parametrize(
    ("change", "said"),
    [({"accountId": "999999999999"}, "account"), ({"region": "us-east-2"}, "region"), ({"pendingTime": "x"}, "read")],
)
def test_a_document_of_another_account_or_region_is_denied(tmp_path: Path, change: dict[str, str], said: str) -> None:
    signer = DocumentSigner(tmp_path)
    document = json.dumps({**DOCUMENT, **change}).encode()
    with pytest.raises(Fault, match=said) as raised:
        verifier(signer).verify(document, signer.sign(document))
    assert raised.value.kind is Kind.DENIED


def test_a_changed_document_a_foreign_signature_and_noise_are_denied(tmp_path: Path) -> None:
    signer, other = DocumentSigner(tmp_path / "a"), DocumentSigner(tmp_path / "b")
    document = json.dumps(DOCUMENT).encode()
    for content, signature in (
        (document + b" ", signer.sign(document)),
        (document, other.sign(document)),
        (document, b"!!"),
        (b"", b""),
    ):
        with pytest.raises(Fault) as raised:
            verifier(signer).verify(content, signature)
        assert raised.value.kind is Kind.DENIED


def test_without_certificates_the_cloud_does_not_open_and_says_where_they_are(tmp_path: Path) -> None:
    for folder in (None, tmp_path, tmp_path / "absent"):
        with pytest.raises(Fault, match="AWS public certificates"):
            identity_document.keys_in(folder)
