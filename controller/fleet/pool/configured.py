"""The classes of warm cells that the settings ask for. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cellwire.faults import Fault, Kind
from controller.choice import requirements
from controller.choice.quantity import gigabytes, mebibytes, millis
from controller.fleet.fleet_settings import OverheadOptions, StandbyTable
from controller.fleet.pool.warm_cells import Class
from controller.model.offer import Demand


def classes(standby: Sequence[StandbyTable], overhead: OverheadOptions) -> tuple[Class, ...]:
    """One class for each table of the settings. Raises Fault INVALID, naming the table and what is wrong in it."""
    made: dict[str, Class] = {}
    for place, each in enumerate(standby):
        name = _name(place, each)
        if name in made:
            raise Fault(Kind.INVALID, f"standby {name}", "two have that name", "give each its own")
        try:
            made[name] = _class(name, each, overhead)
        except Fault as fault:
            raise Fault(Kind.INVALID, f"standby {name}", str(fault), "mend standby in the settings") from fault
    return tuple(made.values())


class ClassImages(msgspec.Struct, frozen=True):
    """What the cells of a class are to hold: these, and, with `forecast`, what its pods will likely need."""

    named: tuple[str, ...] = ()
    forecast: bool = True


def images(standby: Sequence[StandbyTable]) -> dict[str, ClassImages]:
    """What each class is to hold, by the names that `classes` gives."""
    return {_name(place, each): ClassImages(each.images, each.forecast_images) for place, each in enumerate(standby)}


def _name(place: int, each: StandbyTable) -> str:
    return each.name or f"standby-{place + 1}"


def _class(name: str, each: StandbyTable, overhead: OverheadOptions) -> Class:
    annotations = dict(_annotation(text) for text in each.annotations)
    requirements.read(annotations)
    return Class(
        name=name,
        demand=Demand(
            cpu_millis=millis(each.cpu) + overhead.cpu,
            memory_mib=mebibytes(each.memory) + overhead.memory,
            gpus=each.gpus,
            disk_gb=gigabytes(each.disk) if each.disk else 0,
        ),
        annotations=annotations,
        count=each.count,
        most=each.most,
        target_hit=each.target_hit,
        max_age=each.max_age,
    )


def _annotation(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise Fault(Kind.INVALID, f"annotation {text!r}", "it has no value", 'write it as "launch-type=spot"')
    return requirements.PREFIX + key.strip().removeprefix(requirements.PREFIX), value.strip()
