"""What the API server refuses: which answers say so, what was refused of whom, and when it is tried again."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from tidegate_cluster.api import ApiError, is_away
from tidegate_cluster.store import Key
from tidegate_operator.core import types as core
from tidegate_operator.core.failures import refused_before
from tidegate_operator.core.look import Save, Secure, about

SOON_SECONDS = 10.0
SELDOM_SECONDS = 300.0
"""As a resync."""
ANOTHER_TRY = frozenset({404, 409, 410})
"""Answers that speak of the object as it was when it was looked at."""


@dataclass(slots=True)
class _Refused:
    """What became of the writes of one object."""

    uid: str
    generation: int
    words: core.Refusals
    since: datetime
    """When something of this generation was refused first."""


class Refusals:
    """The memory of one process. Where it has none, the status of the object says what was refused."""

    def __init__(self, patience: float, monotonic: Callable[[], float]) -> None:
        """`patience`: for so many seconds a write is answered that something is broken, a webhook that cannot be
        reached say, before that is a refusal. Where it is the API server itself, nobody holds the Lease any more then.
        """
        self._patience = patience
        self._monotonic = monotonic
        self._refused: dict[Key, _Refused] = {}
        self._broken: dict[Key, dict[core.Named, float]] = {}
        """Since when each write has been answered so, and not been taken. What is found broken while another one is has
        been so for as long: one webhook may break them all, and each would hold up the look for as long again."""

    def known(self, key: Key, identity: core.Identity, status: core.Status) -> core.Refusals:
        """What was refused of this object last. A new spec is no reason to think that it is taken now: that shows."""
        found = self._refused.get(key)
        return found.words if found and found.uid == identity.uid else refused_before(status)

    def taken(self, key: Key, write: core.Write | Secure | Save) -> None:
        """The API server has taken a write: what was broken is not."""
        if broken := self._broken.get(key):
            broken.pop(about(write), None)

    def words(self, key: Key, write: core.Write | Secure | Save, error: ApiError) -> str:
        """Why the API server does not take a write.

        Raises the error if it says nothing about that write, or not for long enough.
        """
        if error.status >= 500:
            now, broken = self._monotonic(), self._broken.setdefault(key, {})
            if now - broken.setdefault(about(write), min(broken.values(), default=now)) < self._patience:
                raise error
        elif is_away(error) or error.status in ANOTHER_TRY:
            raise error
        return error.message

    def ended(
        self, key: Key, identity: core.Identity, known: core.Refusals, refused: core.Refusals, now: datetime
    ) -> float | None:
        """A look has ended; returns the seconds after which to look again because of what was refused, or None.

        What is refused anew the object must say at once, and what is taken again it must stop saying. Other words for
        the same refusal can wait: some hold figures that differ each time. Then as long again as it has been refused.
        """
        broken = self._broken.pop(key, {})
        if still := {named: since for named, since in broken.items() if named in refused}:
            self._broken[key] = still
        before = self._refused.get(key)
        if not known and not refused:
            self.forget(key)
            return None
        same = before and (before.uid, before.generation) == (identity.uid, identity.generation)
        since = before.since if before and same else now
        self._refused[key] = _Refused(identity.uid, identity.generation, refused, since)
        if {kind for kind, _ in known} != {kind for kind, _ in refused}:
            return 0.0
        return min(SELDOM_SECONDS, max(SOON_SECONDS, (now - since).total_seconds()))

    def forget(self, key: Key) -> None:
        """The object is gone, or nothing of it is refused."""
        self._refused.pop(key, None)
        self._broken.pop(key, None)

    def clear(self) -> None:
        """Forget everything: another process may have written since."""
        self._refused.clear()
        self._broken.clear()
