from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwire.faults import Fault
from controller.api.all_kinds import KINDS
from controller.api.tables import pods_table, table
from controller.objects import patches, protobuf, selectors
from controller.objects.schema.pods import Pod, PodSpec
from controller.objects.shapes import shape_of
from controller.objects.timestamps import duration


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (3600, "60m"),
        (11000, "3h3m"),
        (100000, "27h"),
        (200000, "2d7h"),
    ],
)
def test_durations_are_kubectls(seconds: int, shown: str) -> None:
    assert duration(seconds) == shown


def pod(**status: Any) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {"name": "a", "labels": {"app": "x"}, "creationTimestamp": "1970-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "c"}]},
        "status": {"phase": "Running", **status},
    }


def cells(one: dict[str, Any], now: float = 10) -> list[Any]:
    return table(pods_table(lambda _: 0.5), [one], "1", now, "None")["rows"][0]["cells"]


def container(state: dict[str, Any], *, ready: bool = False, restarts: int = 0, ended: str = "") -> dict[str, Any]:
    last = {"terminated": {"finishedAt": ended}} if ended else {}
    return {"name": "c", "state": state, "lastState": last, "ready": ready, "restartCount": restarts}


def test_a_running_pod_counts_its_ready_containers() -> None:
    assert cells(pod(containerStatuses=[container({"running": {}}, ready=True)]))[:5] == [
        "a",
        "1/1",
        "Running",
        "0",
        "10s",
    ]


def test_restarts_say_when_the_last_one_was() -> None:
    waiting = container({"waiting": {"reason": "CrashLoopBackOff"}}, restarts=2, ended="1970-01-01T00:00:05Z")
    assert cells(pod(containerStatuses=[waiting]))[1:4] == ["0/1", "CrashLoopBackOff", "2 (5s ago)"]


def test_init_containers_show_their_progress_and_their_errors() -> None:
    one = pod(initContainerStatuses=[container({"running": {}})])
    one["spec"]["initContainers"] = [{"name": "c"}]
    assert cells(one)[2] == "Init:0/1"
    one["status"]["initContainerStatuses"] = [container({"terminated": {"exitCode": 1, "reason": "Error"}})]
    assert cells(one)[2] == "Init:Error"


def test_a_pod_being_deleted_is_terminating() -> None:
    one = pod(containerStatuses=[container({"running": {}}, ready=True)])
    one["metadata"]["deletionTimestamp"] = "1970-01-01T00:00:05Z"
    assert cells(one)[2] == "Terminating"


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=x", True),
        ("app==y", False),
        ("app!=y", True),
        ("app in (x,y),!tier", True),
        ("tier notin (a)", True),
        ("app notin (x)", False),
        ("app", True),
        (" app = x , ! tier,, app in ( x , y ) ", True),
    ],
)
def test_label_selectors(text: str, matches: bool) -> None:
    assert selectors.labels(text)(pod()) is matches


@pytest.mark.parametrize("text", ["a b", "a in x", "=", "a=b=c", "a in (b"])
def test_label_selectors_that_make_no_sense_are_bad_requests(text: str) -> None:
    with pytest.raises(Fault, match="requirement"):
        selectors.labels(text)


def test_selectors_have_no_more_terms_than_are_looked_at_in_time() -> None:
    assert selectors.labels(",".join(["!tier"] * selectors.MOST_TERMS))(pod())
    for many in (",".join(["!tier"] * 1000), "," * 1000 + ",".join(["a=b"] * 101)):
        with pytest.raises(Fault, match="and may have 100"):
            selectors.labels(many)


def test_field_selectors_know_their_fields() -> None:
    assert selectors.fields("status.phase=Running,metadata.name!=b", ("status.phase", "metadata.name"))(pod())
    with pytest.raises(Fault, match="field label not supported"):
        selectors.fields("spec.hostname=x", ("metadata.name",))


def test_a_strategic_patch_merges_lists_by_their_key() -> None:
    target = {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}
    patch = {
        "$setElementOrder/containers": [{"name": "a"}],
        "containers": [{"name": "a", "image": "3"}, {"name": "b", "$patch": "delete"}],
    }
    assert patches.strategic(target, patch, shape_of(PodSpec)) == {"containers": [{"name": "a", "image": "3"}]}


def test_json_patches_apply_and_refuse_in_words() -> None:
    target = {"metadata": {"labels": {"a": "b"}}}
    operation = {"op": "add", "path": "/metadata/labels/x~1y", "value": "z"}
    assert patches.json_patch(target, [operation]) == {"metadata": {"labels": {"a": "b", "x/y": "z"}}}
    with pytest.raises(Fault, match="cannot be applied"):
        patches.json_patch(target, [{"op": "remove", "path": "/none/at/all"}])


@given(st.binary(max_size=200))
def test_broken_protobuf_is_a_bad_request_and_never_a_crash(data: bytes) -> None:
    with pytest.raises(Fault):
        protobuf.decode(b"k8s\x00" + data, KINDS)


@pytest.mark.parametrize("seconds", [1 << 40, 1 << 62, (1 << 64) - (1 << 60)])
def test_a_moment_that_no_clock_tells_is_a_bad_request(seconds: int) -> None:
    digits = [seconds >> shift & 0x7F for shift in range(0, 63, 7)]
    moment = bytes([8, *(digit | 0x80 for digit in digits), seconds >> 63])
    metadata = bytes([8 << 3 | 2, len(moment)]) + moment
    pod = bytes([1 << 3 | 2, len(metadata)]) + metadata
    envelope = bytes([10, 9, 10, 2]) + b"v1" + bytes([18, 3]) + b"Pod" + bytes([18, len(pod)]) + pod
    with pytest.raises(Fault, match="broken protobuf"):
        protobuf.decode(b"k8s\x00" + envelope, KINDS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@given(JSON, JSON)
def test_no_patch_breaks_the_patcher(target: Any, patch: Any) -> None:
    patches.merge(target, patch)
    try:
        patches.strategic(target, patch, shape_of(Pod))
        patches.json_patch(target, patch)
    except Fault:
        pass
