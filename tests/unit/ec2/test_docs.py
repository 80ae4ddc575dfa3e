"""docs/ec2.md speaks of settings, annotations and notices that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

from controller import config
from controller.choice import requirements
from controller.clouds.ec2.notices import eventbridge

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "ec2.md").read_text()


def test_its_example_is_read_by_the_controller() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    settings = config.parse(example, "docs/ec2.md")
    assert settings.cloud.kind == "ec2"
    assert len(settings.cloud.ec2.subnets) == 3


def test_every_setting_that_it_names_is_one() -> None:
    known = {row.key for row in config.table()}
    named = set(re.findall(r"`((?:cloud|link)\.[a-z0-9_.]+)", TEXT))
    assert named
    assert named <= known


def test_every_annotation_that_it_names_is_one() -> None:
    named = set(re.findall(r"chinampa\.dev/([a-z-]+)[`:]", TEXT))
    assert named
    assert named <= requirements.OF_CLOUDS | set(requirements.READ)


def test_the_rules_that_it_sets_up_send_events_that_are_understood() -> None:
    rules = [json.loads(found) for found in re.findall(r"'[a-z]+=(\{.*?\})'", TEXT)]
    sent = {(source, kind) for rule in rules for source in rule["source"] for kind in rule["detail-type"]}
    assert sent == eventbridge.UNDERSTOOD | {(eventbridge.DOCTOR, "Chinampa Doctor")}
