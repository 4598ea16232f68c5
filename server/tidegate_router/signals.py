"""From Envoy's counters to what the operator is told. Pure."""

from collections.abc import Iterable, Mapping

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
    "retry.upstream_rq_completed": "sent_on",
    "upstream_rq_active": "active",
    "upstream_rq_pending_active": "pending",
}
"""Envoy's name of each count. What is asked again is completed once, and a retry that succeeds is counted by itself.

So is an answer after which it asks again: of answers, only that of the hold slot is one.
"""
PATTERN = rf"^cluster\.[^.]*/[^.]*\.({'|'.join(_FIELDS)})$"
"""The stats that are wanted, of all models."""
_FAILURES = "upstream_rq_completed", "upstream_rq_2xx", "upstream_rq_retry_success", "retry.upstream_rq_completed"
"""Of these, those that tell answers and first failures."""

Stats = Mapping[str, int]


def failures_of(models: Iterable[str]) -> str:
    """The stats that tell how the requests have ended that chance divided, of these models alone."""
    return rf"^cluster\.({'|'.join(models)})/[ab]\.({'|'.join(_FAILURES)})$"


def counts(stats: Stats, cluster: str) -> Counts:
    """Of one cluster. Envoy has no name for what never happened."""
    return Counts(**{field: stats.get(f"cluster.{cluster}.{name}", 0) for name, field in _FIELDS.items()})


def of_slot(model: str, slot: Slot, share: Share, pods: int, stats: Stats, latched: str = "") -> SlotSignals:
    """Of the version in one slot. `share`: with the weight in force; `latched`: why it gets nothing here."""
    return SlotSignals(
        revision=share.revision,
        weight=share.weight,
        pods=pods,
        divided=counts(stats, cluster_name(model, slot)),
        named=counts(stats, cluster_name(model, slot, NAMED)),
        latched=latched,
    )


def busy(stats: Stats, model: str, slot: Slot) -> int:
    """Requests that are at a slot, or about to be."""
    found = [counts(stats, cluster_name(model, slot, kind)) for kind in ("", NAMED)]
    return sum(each.active + each.pending for each in found)
