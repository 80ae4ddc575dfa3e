"""Numbers of strangers may have digits that Python does not read, or more of them than it reads: they are refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from cellagent.images import handler, registry_client
from cellagent.images.image_source import Image, ImageConfig
from cellagent.images.registry_answers import Transient
from cellagent.runtime import file_servers
from cellwire.faults import Fault
from controller.api import proxying
from controller.choice.quantity import quantity
from controller.objects.fields import Report
from controller.pods import probe_handlers
from controller.workloads import workload_kinds

NUMBERS = ["9" * 5000, "²", "٣" * 3]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_registry_that_resumes_at_no_number_resumes_at_the_wrong_place(number: str) -> None:
    answer = SimpleNamespace(headers={"Content-Range": f"bytes {number}-9/10"})
    with pytest.raises(Transient, match="wrong place"):
        registry_client._skip(cast("Any", answer), 5)


@pytest.mark.parametrize("number", NUMBERS)
def test_an_image_whose_user_is_no_number_is_listed_with_a_name(number: str) -> None:
    image = Image(id="sha256:1", digests=(), tags=(), size=1, config=ImageConfig(user=number), layers=())
    assert (handler.told(image).HasField("uid"), handler.told(image).username) == (False, number)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_probe_that_is_answered_with_no_status_has_failed(number: str) -> None:
    assert probe_handlers._failure(f"HTTP/1.1 {number} OK\r\n".encode()) == "the answer is not HTTP"


@pytest.mark.parametrize("number", NUMBERS)
def test_a_port_that_is_none_is_refused_or_the_usual_one(number: str) -> None:
    pod = {"metadata": {"name": "web"}, "spec": {"containers": [{}]}}
    with pytest.raises(Fault, match="has no port"):
        proxying._port(pod, number)
    assert file_servers._port([f"port={'9' * 5000}"]) == file_servers.PORT


@pytest.mark.parametrize("number", NUMBERS)
def test_a_quantity_or_share_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(Fault, match="not a number"):
        quantity(number)
    report = Report()
    workload_kinds._share(f"{number}%", "spec.maxSurge", report)
    assert report.causes
