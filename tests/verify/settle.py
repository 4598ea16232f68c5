"""From any state to rest: nobody meddles any more, everybody does what is left to do, and then it must be right.

Looks in flight are given up: where they would lead to is another state of the search.
So all that matters is what is true, and every truth is brought to rest once.
"""

from dataclasses import dataclass, field

from verify import cluster, drive
from verify.drive import Deed
from verify.invariants import DEEDS, ENDS, Words
from verify.looks import Looks
from verify.moves import look_about, look_at
from verify.operators import State, newly
from verify.values import Truth, with_item

ROUNDS = 30


@dataclass
class Settler:
    """Brings truths to rest, each once."""

    looks: Looks
    release: int
    known: set[Truth] = field(default_factory=set)
    ends: set[Truth] = field(default_factory=set)

    def settle(self, truth: Truth) -> tuple[str, list[str]] | None:
        """What is wrong where this comes to rest, by the name of the promise, and the way there; None: nothing."""
        seen: list[Truth] = []
        way: list[str] = []
        for _ in range(ROUNDS):
            if truth in self.known:
                self.known.update(seen)
                return None
            seen.append(truth)
            after = others(truth)
            if after is not truth:
                way.append("everybody else does what is left to do")
                seen.append(after)
            found, then = self._looked(after, way)
            if found:
                return found, way
            if then is truth:
                for check in ENDS:
                    if words := check(truth):
                        return f"{check.__name__}: {words}", way
                self.ends.add(truth)
                self.known.update(seen)
                return None
            truth = then
        return f"it comes to rest: not after {ROUNDS} looks", way

    def _looked(self, truth: Truth, way: list[str]) -> tuple[Words, Truth]:
        """One look at everything by a process that has just started."""
        state = State(truth, (newly(truth, self.release),))
        for which, begin in (("look", look_at), ("around", look_about)):
            state = begin(self.looks, state, 0, state.procs[0]) or state
            while getattr(state.procs[0], which):
                state, deed = drive.step(self.looks, state, 0, which)
                if deed:
                    way.append(f"the operator: {type(deed.step).__name__}")
                    if words := wrong(deed):
                        return words, state.truth
        return None, state.truth


def wrong(deed: Deed) -> Words:
    for check in DEEDS:
        if words := check(deed):
            return f"{check.__name__}: {words}"
    return None


def others(truth: Truth) -> Truth:
    """Controllers, the garbage collector and whoever holds a finalizer have done all there is to do."""
    if truth.model and truth.model.deleting:
        truth = truth.but(model=None, ended=truth.day)
    truth = truth.but(quota=False)
    for kid in truth.kids:
        if kid.held and kid.deleting:
            truth = cluster.gone(truth, kid.ref)
    for kept in truth.kept:
        if kept.held and kept.deleting:
            truth = truth.but(kept=with_item(truth.kept, kept.name, None), lost=truth.lost | {kept.name})
    while after := cluster.collected(truth) or cluster.resolved(truth) or cluster.rolled(truth):
        truth = after
    return truth
