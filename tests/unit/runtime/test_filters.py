"""The agent picks by its records, the shim by what it lists: a filter must mean the same at both ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from cellagent.runtime import views
from cellagent.runtime.ledger import ContainerEntry, Phase, SandboxEntry
from cellwire.cri import match
from cellwire.cri.v1 import runtime_pb2 as cri

WORDS = some.sampled_from(["a", "b", "ab"])
LABELS = some.dictionaries(WORDS, WORDS, max_size=2)
IDS = some.text("ab", min_size=1, max_size=3)
ASKED = some.text("ab", max_size=2)
PHASES = some.sampled_from(Phase)
CONTAINER_STATES = some.none() | some.builds(
    cri.ContainerStateValue, state=some.sampled_from(cri.ContainerState.values())
)
SANDBOX_STATES = some.none() | some.builds(
    cri.PodSandboxStateValue, state=some.sampled_from(cri.PodSandboxState.values())
)
SANDBOX_FILTERS = some.builds(cri.PodSandboxFilter, id=ASKED, label_selector=LABELS, state=SANDBOX_STATES)
CONTAINER_FILTERS = some.builds(
    cri.ContainerFilter, id=ASKED, pod_sandbox_id=ASKED, label_selector=LABELS, state=CONTAINER_STATES
)


@given(IDS, LABELS, PHASES, SANDBOX_FILTERS)
def test_a_sandbox_is_wanted_at_both_ends_or_at_none(
    key: str, labels: dict[str, str], phase: Phase, wanted: cri.PodSandboxFilter
) -> None:
    config = cri.PodSandboxConfig(labels=labels).SerializeToString()
    record = SandboxEntry(id=key, config=config, handler="", created_at=1, phase=phase)
    assert views.sandbox_wanted(record, wanted) == match.sandbox_matches(wanted, views.sandbox(record))


@given(IDS, IDS, LABELS, PHASES, CONTAINER_FILTERS)
def test_a_container_is_wanted_at_both_ends_or_at_none(
    key: str, sandbox: str, labels: dict[str, str], phase: Phase, wanted: cri.ContainerFilter
) -> None:
    config = cri.ContainerConfig(labels=labels).SerializeToString()
    record = ContainerEntry(
        id=key, sandbox_id=sandbox, config=config, image_id="i", image_ref="r", created_at=1, phase=phase
    )
    assert views.container_wanted(record, wanted) == match.container_matches(wanted, views.container(record))
