"""From Envoy's counters to what the operator is told. Pure."""

from collections.abc import Mapping

from tidegate_contract.route import Share, Slot
from tidegate_contract.signals import Counts, SlotSignals
from tidegate_router.documents import NAMED, cluster_name

_FIELDS = {
    "upstream_rq_completed": "answered",
    "upstream_rq_2xx": "ok",
    "upstream_rq_4xx": "refused",
    "upstream_rq_5xx": "failed",
    "upstream_rq_timeout": "unanswered",
    "upstream_rq_retry_success": "again",
    "upstream_rq_active": "active",
    "upstream_rq_pending_active": "pending",
}
"""Envoy's name of each count. What is asked again is completed once, and a retry that succeeds is counted by itself."""
PATTERN = rf"^cluster\.[^.]*/[^.]*\.({'|'.join(_FIELDS)})$"
"""The stats that are wanted, of all models."""

Stats = Mapping[str, int]


def counts(stats: Stats, cluster: str, sent_on: int) -> Counts:
    """Of one cluster. Envoy has no name for what never happened."""
    found = {field: stats.get(f"cluster.{cluster}.{name}", 0) for name, field in _FIELDS.items()}
    return Counts(**found, sent_on=sent_on)


def of_slot(model: str, slot: Slot, share: Share, pods: int, stats: Stats, sent_on: Mapping[str, int]) -> SlotSignals:
    """Of the version in one slot. `share`: with the weight in force; `sent_on`: by the hold slot, for each cluster."""
    divided, named = cluster_name(model, slot), cluster_name(model, slot, NAMED)
    return SlotSignals(
        revision=share.revision,
        weight=share.weight,
        pods=pods,
        divided=counts(stats, divided, sent_on.get(divided, 0)),
        named=counts(stats, named, sent_on.get(named, 0)),
    )
