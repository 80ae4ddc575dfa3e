"""Volumes that are images: which of them a container shows, and as what they are pulled. Pure."""

from __future__ import annotations

from controller.objects.schema.containers import AnyContainer, Container
from controller.objects.schema.pods import PodSpec


def of(spec: PodSpec, container: AnyContainer) -> dict[str, Container]:
    """The image volumes that a container mounts, by name: each as a container of that image would be pulled."""
    mounted = {mount.name for mount in container.volumeMounts}
    return {
        volume.name: Container(
            name=container.name, image=volume.image.reference, imagePullPolicy=volume.image.pullPolicy
        )
        for volume in spec.volumes
        if volume.image is not None and volume.name in mounted
    }
