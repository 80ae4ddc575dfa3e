"""Volumes that are images: which of them a container shows, and as what they are pulled. Pure."""

from __future__ import annotations

from controller.objects.fields import Json


def of(spec: Json, container: Json) -> dict[str, Json]:
    """The image volumes that a container mounts, by name: each as a container of that image would be pulled."""
    mounted = {mount["name"] for mount in container.get("volumeMounts") or ()}
    return {
        volume["name"]: {
            "name": container["name"],
            "image": volume["image"]["reference"],
            "imagePullPolicy": volume["image"]["pullPolicy"],
        }
        for volume in spec.get("volumes") or ()
        if volume.get("image") and volume["name"] in mounted
    }
