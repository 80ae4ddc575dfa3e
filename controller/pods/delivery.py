"""Brings the content of a pod's volumes to its cell, and keeps it there as the objects change."""

from __future__ import annotations

import asyncio

import msgspec
from msgspec.structs import replace

from cellwire.faults import Fault
from controller.objects.fields import Json
from controller.objects.library import Library
from controller.objects.schema.containers import AnyContainer, VolumeMount
from controller.objects.schema.pods import Pod, PodSecurityContext
from controller.objects.schema.volumes import Volume
from controller.objects.tokens import AUDIENCE, Bearer, Tokens
from controller.pods import volume_contents
from controller.pods.config_data import SECRETS, Missing
from controller.pods.events import Recorder
from controller.pods.file_transfer import put_tree
from controller.pods.pod_records import PodRecords
from controller.pods.run import PodRecord
from controller.pods.translate import ACCOUNT_VOLUME, volumes_folder
from controller.pods.volume_contents import Entry, Sources
from controller.sandboxes.cell_client import OneCell

# What is not there yet may come at any moment, which is told; this finds what was missed.
AGAIN = 5.0
# As a kubelet: a token is made anew when most of its life is over.
RENEWED_AT = 0.8
SETTLE = 0.05


class ClusterIdentity(msgspec.Struct, frozen=True):
    """How pods are known to this API: who makes tokens, whom a pod is to trust, and where the API is for pods ("" where
    no pod can reach it); and the domain of the names of Services, by which they know each other.
    """

    tokens: Tokens
    authority: str
    host: str = ""
    port: int = 0
    domain: str = ""


class Delivery:
    """The volumes of one pod on its present cell."""

    def __init__(
        self,
        uid: str,
        there: OneCell,
        records: PodRecords,
        recorder: Recorder,
        library: Library,
        identity: ClusterIdentity,
    ) -> None:
        self._uid = uid
        self._there = there
        self._records = records
        self._recorder = recorder
        self._library = library
        self._identity = identity
        self._sent: dict[str, list[Entry]] = {}
        self._tokens: dict[tuple[str, int], tuple[float, str]] = {}

    @property
    def domain(self) -> str:
        """Of the names of Services."""
        return self._identity.domain

    async def deliver(self) -> None:
        """Return once all volumes have their content on the cell."""
        seen, said = 0, ""
        while True:
            seen = self._library.revisions.last
            try:
                await self._send()
            except (Missing, Fault) as cause:
                if str(cause) != said:
                    said = str(cause)
                    self._recorder.warning(self._record.shown, "FailedMount", f"MountVolume.SetUp failed: {cause}")
                await self._changed(seen, AGAIN)
            else:
                return

    async def keep(self) -> None:
        """Send again what changes, for as long as the pod is on its cell."""
        seen = self._library.revisions.last
        while True:
            await self._changed(seen, self._due())
            await asyncio.sleep(SETTLE)
            seen = self._library.revisions.last
            try:
                await self._send()
            except Missing:
                continue  # a volume keeps what it has when its object goes
            except Fault as fault:
                self._recorder.warning(self._record.shown, "FailedMount", f"a volume was not refreshed: {fault}")
                await asyncio.sleep(AGAIN)
                seen = 0

    async def _changed(self, seen: int, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._library.revisions.after(seen)
        except TimeoutError:
            return

    @property
    def _record(self) -> PodRecord:
        record = self._records.get(self._uid)
        if record is None:
            raise KeyError(self._uid)
        return record

    async def _send(self) -> None:
        record = self._record
        group = (record.pod.spec.securityContext or PodSecurityContext()).fsGroup
        sources = Sources(self._lookup, self._token)
        for volume in self.volumes(record.pod):
            content = volume_contents.files(volume, record.pod, record.run, sources)
            if volume.name == ACCOUNT_VOLUME:
                content["ca.crt"] = volume_contents.File(self._identity.authority.encode(), 0o644)
            entries = volume_contents.tree(content, group)
            if self._sent.get(volume.name) != entries:
                await put_tree(self._there, f"{volumes_folder(self._uid)}/{volume.name}", entries)
                self._sent[volume.name] = entries

    def volumes(self, pod: Pod) -> list[Volume]:
        """The pod's volumes with content, its account's token among them."""
        listed = [one for one in pod.spec.volumes if volume_contents.has_content(one)]
        return [*listed, volume_contents.ACCOUNT] if self.account(pod) else listed

    def account(self, pod: Pod) -> Json | None:
        """The service account whose token the pod has mounted; None for none."""
        name = pod.spec.serviceAccountName or "default"
        account = self._lookup("serviceaccounts", pod.metadata.namespace, name)
        if account is None:
            return None
        own = pod.spec.automountServiceAccountToken
        wanted = account.get("automountServiceAccountToken") if own is None else own
        if wanted is None:
            # Without being asked for, only where it is of use.
            wanted = bool(self._identity.host) or name != "default"
        return account if wanted else None

    def with_account(self, container: AnyContainer) -> AnyContainer:
        """The container with its account's folder, where it has that."""
        taken = any(one.mountPath.rstrip("/") == volume_contents.ACCOUNT_FOLDER for one in container.volumeMounts)
        if taken or self.account(self._record.pod) is None:
            return container
        mount = VolumeMount(name=ACCOUNT_VOLUME, mountPath=volume_contents.ACCOUNT_FOLDER, readOnly=True)
        return replace(container, volumeMounts=(*container.volumeMounts, mount))

    def pull_secrets(self) -> list[Json]:
        """The secrets by which images are pulled: the pod's own, then those of its account."""
        pod = self._record.pod
        namespace = pod.metadata.namespace
        account = self._lookup("serviceaccounts", namespace, pod.spec.serviceAccountName or "default") or {}
        named = [one.name for one in pod.spec.imagePullSecrets]
        named += [one.get("name", "") for one in account.get("imagePullSecrets") or ()]
        found = [self._lookup(SECRETS, namespace, name) for name in named]
        return [one for one in found if one is not None]

    def _lookup(self, key: str, namespace: str, name: str) -> Json | None:
        return self._library.objects(key).get(namespace, name)

    def _token(self, audience: str, seconds: int) -> str | None:
        pod = self._record.pod
        metadata = pod.metadata
        name = pod.spec.serviceAccountName or "default"
        account = self._lookup("serviceaccounts", metadata.namespace, name)
        if account is None:
            return None
        now = self._identity.tokens.now()
        until, token = self._tokens.get((audience, seconds), (0.0, ""))
        if until <= now:
            bearer = Bearer(metadata.namespace, name, account["metadata"]["uid"], metadata.name, metadata.uid)
            token = self._identity.tokens.issue(replace(bearer, audience=audience or AUDIENCE), seconds)
            self._tokens[audience, seconds] = (now + seconds * RENEWED_AT, token)
        return token

    def _due(self) -> float:
        """Seconds until a token must be made anew; a long while where there is none."""
        now = self._identity.tokens.now()
        return max(1.0, min([until - now for until, _ in self._tokens.values()], default=3600.0))
