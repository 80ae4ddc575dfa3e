"""What rows of workloads are made with. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from controller.objects.fields import Json, Report, integer
from controller.objects.resource import STATUS, Resource, Subresource
from controller.objects.schema.base import Part

COUNT = integer(0, 2**31 - 1)


class TemplateRules(Protocol):
    """Rules of pod templates: whether a template is one, its defaults, and what of it has no effect."""

    def check(self, template: Json, field: str, report: Report) -> None:
        """Report all for which pods of this template could not be run."""
        ...

    def filled(self, template: Json) -> Json:
        """The template with its defaults."""
        ...

    def warnings(self, template: Json, field: str) -> Sequence[str]:
        """A sentence for each thing in it that has no effect."""
        ...


def unchanged(one: Json, before: Json | None, fields: Sequence[str], report: Report) -> None:
    """Report which of these fields of the spec are others than before."""
    for field in fields:
        if before is not None and before["spec"].get(field) != one["spec"].get(field):
            report.invalid(f"spec.{field}", one["spec"].get(field), "field is immutable")


def workload(
    kind: type[Part],
    group: str,
    *,
    short: tuple[str, ...],
    check: Callable[[Json, Json | None, Report], None],
    defaults: Callable[[Json], Json],
    warnings: Callable[[Json], Sequence[str]],
) -> Resource:
    """The row of a workload: one of `all`, with a status of its own and a generation."""
    name = kind.__name__
    return Resource(
        name=f"{name.lower()}s",
        kind=name,
        type=kind,
        group=group,
        short=short,
        categories=("all",),
        subresources=(Subresource("status", name, STATUS),),
        check=check,
        defaults=defaults,
        warnings=warnings,
        generation=True,
    )


def scaled(row: Resource) -> Resource:
    """The row of a workload that has replicas."""
    return replace(row, subresources=(Subresource("scale", "Scale", STATUS, "autoscaling"), *row.subresources))
