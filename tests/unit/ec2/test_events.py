"""Messages of the queue and status checks become notices; rubbish becomes a fault and nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwire.faults import Fault, Kind
from controller.clouds.ec2.notices import eventbridge
from controller.clouds.protocol import Notice
from controller.model.cell import NoticeKind

ID = "i-0b662ef9931388ba0"
NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC).timestamp()


def event(kind: str, detail: object, source: str = "aws.ec2", **more: object) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "1e5527d7-bb36-4607-3370-4164db56a40e",
        "detail-type": kind,
        "source": source,
        "account": "123456789012",
        "time": "2026-11-24T12:00:00Z",
        "region": "us-east-1",
        "resources": [f"arn:aws:ec2:us-east-1b:instance/{ID}"],
        "detail": detail,
        **more,
    }


HEALTH = {
    "eventArn": "arn:aws:health:us-east-1::event/EC2/AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED/x",
    "service": "EC2",
    "eventTypeCode": "AWS_EC2_PERSISTENT_INSTANCE_RETIREMENT_SCHEDULED",
    "eventTypeCategory": "scheduledChange",
    "startTime": "Tue, 24 Nov 2026 12:00:00 GMT",
    "eventDescription": [{"language": "en_US", "latestDescription": "Retired\nsoon."}],
    "affectedEntities": [{"entityValue": ID}, {"entityValue": "i-0000aaaa"}],
}


def test_a_spot_warning_says_when_the_instance_goes() -> None:
    body = event("EC2 Spot Instance Interruption Warning", {"instance-id": ID, "instance-action": "stop"})
    (notice,) = eventbridge.read(json.dumps(body))

    assert (notice.instance, notice.kind, notice.at) == (ID, "interruption", NOON + 120)
    assert "stop" in notice.message


@pytest.mark.parametrize("kind", ["Capacity Reservation", "Interruptible Capacity Reservation"])
def test_a_reservation_that_is_taken_back_says_when_the_instance_goes(kind: str) -> None:
    told = {"instance-id": ID, "instance-action": "terminate", "instance-termination-time": "2026-11-24T12:05:00Z"}
    (notice,) = eventbridge.read(json.dumps(event(f"EC2 {kind} Instance Interruption Warning", told)))
    assert (notice.instance, notice.kind, notice.at, notice.ends) == (ID, "interruption", NOON + 300, True)


def test_checks_of_disks_and_applications_are_heard() -> None:
    told = {"InstanceId": ID, "AttachedEbsStatus": {"Status": "impaired"}, "ApplicationStatus": {"Status": "impaired"}}
    assert [each.message for each in eventbridge.of_status(told)] == [
        "the attached EBS status check fails",
        "the application status check fails",
    ]


def test_rebalance_and_state_changes_name_their_instance() -> None:
    rebalance = eventbridge.read(json.dumps(event("EC2 Instance Rebalance Recommendation", {"instance-id": ID})))
    changed = eventbridge.read(
        json.dumps(event("EC2 Instance State-change Notification", {"instance-id": ID, "state": "stopping"}))
    )

    assert [(each.instance, each.kind) for each in rebalance] == [(ID, "rebalance")]
    assert changed == (
        Notice(instance=eventbridge.InstanceId(ID), kind=NoticeKind.STATE_CHANGE, at=NOON, message="stopping"),
    )


def test_a_health_event_is_a_notice_for_each_instance_that_it_names() -> None:
    found = eventbridge.read(json.dumps(event("AWS Health Event", HEALTH, "aws.health")))

    assert [each.instance for each in found] == [ID, "i-0000aaaa"]
    assert {(each.kind, each.at) for each in found} == {("maintenance", NOON)}
    assert found[0].message.endswith("RETIREMENT_SCHEDULED: Retired soon.")


@pytest.mark.parametrize(
    "change",
    [{"service": "RDS"}, {"eventTypeCategory": "accountNotification"}, {"statusCode": "closed"}],
)
def test_health_events_that_threaten_no_instance_are_no_notices(change: dict[str, str]) -> None:
    assert eventbridge.read(json.dumps(event("AWS Health Event", HEALTH | change, "aws.health"))) == ()


def test_events_about_something_else_are_no_notices() -> None:
    assert eventbridge.read(json.dumps(event("Object Created", {}, "aws.s3"))) == ()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no json",
        "[]",
        "{}",
        "[" * 100_000,
        json.dumps(event("EC2 Spot Instance Interruption Warning", None)),
        json.dumps(event("EC2 Spot Instance Interruption Warning", {"instance-id": "i-0; rm"})),
    ],
)
def test_what_is_no_event_is_refused(body: str) -> None:
    with pytest.raises(Fault) as raised:
        eventbridge.read(body)
    assert raised.value.kind is Kind.INVALID


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KNOWN = st.sampled_from(
    [
        ("aws.ec2", "EC2 Spot Instance Interruption Warning"),
        ("aws.ec2", "EC2 Instance Rebalance Recommendation"),
        ("aws.ec2", "EC2 Instance State-change Notification"),
        ("aws.health", "AWS Health Event"),
    ]
)
DETAIL = st.fixed_dictionaries(
    {},
    optional={
        "instance-id": st.just(ID) | JSON,
        "state": JSON,
        "service": st.just("EC2") | JSON,
        "eventTypeCategory": st.sampled_from(["scheduledChange", "issue"]) | JSON,
        "startTime": JSON,
        "affectedEntities": st.lists(st.fixed_dictionaries({"entityValue": st.just(ID) | JSON})) | JSON,
        "eventDescription": JSON,
    },
)


@given(known=KNOWN, detail=DETAIL | JSON, resources=JSON, moment=JSON)
def test_whatever_a_message_holds_it_is_notices_of_instances_or_a_fault(
    known: tuple[str, str], detail: object, resources: object, moment: object
) -> None:
    body = json.dumps(event(known[1], detail, known[0], resources=resources, time=moment))
    try:
        found = eventbridge.read(body)
    except Fault as fault:
        assert fault.kind is Kind.INVALID
        return
    for notice in found:
        assert notice.instance.startswith("i-")
        assert notice.kind in NoticeKind
        assert notice.at >= 0
        assert len(notice.message) <= 500


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_at_all_is_notices_or_a_fault(body: str) -> None:
    try:
        assert isinstance(eventbridge.read(body), tuple)
    except Fault as fault:
        assert fault.kind is Kind.INVALID


def test_failed_checks_and_coming_events_are_notices_and_past_events_are_not() -> None:
    found = eventbridge.of_status(
        {
            "InstanceId": ID,
            "SystemStatus": {"Status": "impaired"},
            "InstanceStatus": {"Status": "initializing"},
            "Events": [
                {
                    "Code": "system-reboot",
                    "Description": "Scheduled reboot",
                    "NotBefore": datetime.fromtimestamp(NOON, UTC),
                },
                {"Code": "instance-stop", "Description": "[Completed] Retirement"},
            ],
        }
    )
    assert [(each.kind, each.at, each.message) for each in found] == [
        ("maintenance", 0.0, "the system status check fails"),
        ("maintenance", NOON, "system-reboot: Scheduled reboot"),
    ]
