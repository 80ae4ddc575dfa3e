"""Counts which manifests of a folder the pods API would accept, by the admission that it uses itself.

    python -m tests.acceptance [--all] [--json FILE] FOLDER ...

Each `.yaml`, `.yml` and `.json` below the folders is read as kubectl reads it: several documents a file, lists taken
apart. What is no manifest (templates of Helm, values, CI files) is passed over. Counted are objects that bear a pod's
template; the others are shown with --all. An API version that Kubernetes itself serves no more is counted apart.
"""

from __future__ import annotations

import argparse
import collections
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from cellwire.faults import Fault
from controller.api import unserved
from controller.api.all_kinds import KEPT
from controller.objects import admission
from controller.objects.fields import Invalid

Json = dict[str, Any]
# Kinds that bear a pod's template, and where.
BEARERS = {
    "Pod": (),
    "PodTemplate": ("template",),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    **dict.fromkeys(
        ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"), ("spec", "template")
    ),
}
GONE = ("extensions/v1beta1", "apps/v1beta1", "apps/v1beta2", "batch/v1beta1", "batch/v2alpha1", "policy/v1beta1")
# What was accepted; refused for want of something here; what no Kubernetes of today would take, for its version or
# for what is in it; and kinds that are no part of Kubernetes.
ACCEPTED, REFUSED, OLD, INVALID, FOREIGN = "accepted", "refused", "old", "invalid", "foreign"
OURS = "chinampa"


class Answer(NamedTuple):
    """What came of one object: its outcome, why, and what it was warned of."""

    file: str
    kind: str
    name: str
    outcome: str
    whys: tuple[str, ...]
    warnings: tuple[str, ...]


def documents(file: Path) -> Iterator[Json]:
    """The manifests of a file, lists taken apart."""
    try:
        found = list(yaml.load_all(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError):
        return  # a template, or no YAML at all
    for one in found:
        if not isinstance(one, dict) or not one.get("kind") or not one.get("apiVersion"):
            continue
        inner = one.get("items") if str(one["kind"]).endswith("List") else None
        yield from (item for item in (inner if isinstance(inner, list) else [one]) if isinstance(item, dict))


def judged(one: Json, file: str) -> Answer:
    """What the API would say to this object."""
    kind, version = str(one.get("kind")), str(one.get("apiVersion"))
    metadata: Json = one.get("metadata") or {}
    name = str(metadata.get("name") or metadata.get("generateName"))
    if version in GONE:
        return Answer(file, kind, name, OLD, (f"{version} is served by no Kubernetes of today",), ())
    for resource in KEPT:
        if (resource.kind, resource.api_version) == (kind, version):
            break
    else:
        told = [unserved.sentence(row, "…") for row in unserved.KINDS if row.kind == kind]
        own = "." not in version.partition("/")[0] or version.partition("/")[0].endswith(".k8s.io")
        # A kind that is served, under a version that it has nowhere.
        nowhere = own and not told and any(each.kind == kind for each in KEPT)
        outcome = INVALID if nowhere else REFUSED if told or own else FOREIGN
        return Answer(file, kind, name, outcome, tuple(told or [f"{version} {kind}"]), ())
    how = admission.How(warnings=[])
    # JSON as kubectl sends it: dates and numbers of YAML as they are there.
    sent: Json = json.loads(json.dumps(one, default=str))
    try:
        read = admission.read(resource, sent, how)
        fresh = admission.fresh(resource, read, metadata.get("namespace") or "default", 0.0)
        admission.checked(resource, fresh, None, how)
    except Invalid as fault:
        whys = tuple(f"{cause.field}: {cause.message}" for cause in fault.causes)
        # Our own refusals say who refuses; the others are Kubernetes' own words.
        outcome = REFUSED if any(OURS in why for why in whys) else INVALID
        return Answer(file, kind, name, outcome, whys, tuple(how.warnings))
    except Fault as fault:
        return Answer(file, kind, name, INVALID, (str(fault),), tuple(how.warnings))
    return Answer(file, kind, name, ACCEPTED, (), tuple(how.warnings))


def judge(folder: Path) -> Iterator[Answer]:
    """Each object below a folder."""
    for file in sorted(folder.rglob("*")):
        if file.suffix in {".yaml", ".yml", ".json"} and file.is_file():
            for one in documents(file):
                yield judged(one, str(file.relative_to(folder)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--all", action="store_true", help="objects without a pod's template too")
    parser.add_argument("--invalid", action="store_true", help="show what no Kubernetes would take, too")
    parser.add_argument("--json", type=Path, help="write each answer here, a line each")
    asked = parser.parse_args()
    total: collections.Counter[str] = collections.Counter()
    every: list[Answer] = []
    for folder in asked.folders:
        found = [one for one in judge(folder) if asked.all or one.kind in BEARERS]
        counted = collections.Counter(one.outcome for one in found)
        total += counted
        every += [one._replace(file=f"{folder.name}/{one.file}") for one in found]
        said = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counted.items()))
        print(f"{folder.name:45} {said}")
    for one in every:
        if one.outcome == REFUSED or (asked.invalid and one.outcome == INVALID):
            print(f"\n{one.kind} {one.name} ({one.file})")
            print("\n".join(f"    {why}" for why in one.whys))
    if asked.json:
        asked.json.write_text("".join(json.dumps(one._asdict()) + "\n" for one in every))
    asked_of = total[ACCEPTED] + total[REFUSED]
    share = 100 * total[ACCEPTED] / asked_of if asked_of else 0.0
    print(f"\n{total[ACCEPTED]} of {asked_of} accepted ({share:.1f} %)")
    print(f"not counted: {total[OLD]} of versions of old, {total[INVALID]} that no Kubernetes would take,")
    print(f"{total[FOREIGN]} of kinds that are no part of Kubernetes")


if __name__ == "__main__":
    main()
