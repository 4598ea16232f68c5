"""Which routers are ended because they do not answer, searched: every order of silence, answers, time and restarts.

The code under search is the look of `core/namespace.py`. Time goes by minutes, and what is older than the rest between
two ends is as old as that. A router that was ended is replaced at once by a new one, which may stay silent too; an
operator that starts anew has forgotten what it has ended. Left out: a replacement that nobody can make.
"""

import time
from collections import deque
from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

from tidegate_operator.core.guards import ALL, Guard, Guards
from tidegate_operator.core.look import Evict, Together
from tidegate_operator.core.namespace import REST, Namespace, Silence, look_at
from tidegate_operator.core.router import Images
from verify.search import Counterexample, Result
from worlds import ME, NOW

GUARDS = frozenset({Guard.OTHERS_ANSWER, Guard.RESTED})
NAME = "silence"
ROUTERS = 3
MINUTE = timedelta(minutes=1)
OLD = REST // MINUTE


class Pod(NamedTuple):
    """A router."""

    age: int
    """In minutes."""
    silent: bool = False


class State(NamedTuple):
    routers: tuple[Pod, ...]
    ended: int | None = None
    """Minutes since one was ended last, by anybody; None: none was."""
    remembered: bool = True
    """The operator knows of it."""


Move = tuple[str, State, str]
"""Words, the state after it, and the promise that it breaks; empty if none."""


def begin() -> State:
    return State((Pod(OLD),) * ROUTERS)


def following(state: State, guards: Guards) -> Iterator[Move]:
    ended = None if state.ended is None else min(state.ended + 1, OLD)
    older = tuple(router._replace(age=min(router.age + 1, OLD)) for router in state.routers)
    yield "a minute passes", state._replace(routers=older, ended=ended), ""
    yield "the operator starts anew", state._replace(remembered=False), ""
    for place, router in enumerate(state.routers):
        words = f"router {place} answers again" if router.silent else f"router {place} falls silent"
        yield words, _with(state, place, router._replace(silent=not router.silent)), ""
        yield f"router {place} makes room for a new one", _with(state, place, Pod(0)), ""
        if router.silent:  # whichever of them is named first
            yield from _looked(state, place, guards)


def _looked(state: State, place: int, guards: Guards) -> Iterator[Move]:
    """One look at the namespace, which knows of this silent router first."""
    others_answer = any(not router.silent for router in state.routers)
    found = evicted(state, place, guards, others_answer=others_answer)
    rested = state.ended in (None, OLD) and all(router.age == OLD for router in state.routers)
    if not found and others_answer and rested:
        yield "the operator looks", state, "a router that does not answer stays, and another one answers"
    if found:
        after = _with(state, place, Pod(0))._replace(ended=0, remembered=True)
        wrong = "" if others_answer else "a router is ended while none answers"
        if state.ended not in (None, OLD):
            wrong = wrong or f"a router is ended {state.ended} minutes after another one"
        yield f"the operator ends router {place}", after, wrong


def evicted(state: State, place: int, guards: Guards, *, others_answer: bool) -> bool:
    """Whether a look ends this router."""
    made = max(NOW - router.age * MINUTE for router in state.routers)
    ended = NOW - state.ended * MINUTE if state.remembered and state.ended is not None else None
    silence = Silence(((f"r{place}", f"uid-{place}"),), others_answer, made, ended)
    steps = look_at(Namespace(ME.namespace, routed=(ME,), silence=silence), Images("envoy", "tools"), NOW, guards)
    found, answer = False, None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration:
            return found
        found |= isinstance(step, Evict)
        answer = (None,) * len(step.steps) if isinstance(step, Together) else None


def _with(state: State, place: int, router: Pod) -> State:
    return state._replace(routers=(*state.routers[:place], router, *state.routers[place + 1 :]))


def search(guards: Guards = ALL) -> Result:
    """All states, or the way to the first broken promise."""
    result, started = Result(NAME), time.monotonic()
    before: dict[State, tuple[State, str] | None] = {begin(): None}
    waiting = deque([(begin(), 0)])

    def finish(state: State | None = None, *words: str) -> Result:
        way = []
        while state is not None and (link := before[state]) is not None:
            state, told = link
            way.append(told)
        if words:
            result.counterexample = Counterexample(words[-1], (*reversed(way), *words[:-1]))
        result.states, result.seconds = len(before), time.monotonic() - started
        return result

    while waiting:
        state, result.depth = waiting.popleft()
        for words, after, broken in following(state, guards):
            result.transitions += 1
            if broken:
                return finish(state, words, broken)
            after = after._replace(routers=tuple(sorted(after.routers)))
            if after not in before:
                before[after] = (state, words)
                waiting.append((after, result.depth + 1))
    return finish()
