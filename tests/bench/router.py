"""What a router adds to a request, how soon it follows, and what is lost when something beside it dies.

    .venv/bin/python tests/bench/router.py                about nine minutes
    .venv/bin/python tests/bench/router.py --short        under three
    .venv/bin/python tests/bench/router.py hold away      some parts only

acknowledged   from a new route in the API server to its confirmation in /signals: 1 model, 100, and with a poisoned one
memory         of Envoy and of the agent, with 1 and 100 models; what one /signals takes
split          1, 5 and 50 % of many requests, by the count of Envoy and of the pods, held against the test of the split
latency        at half of the router's capacity, in rounds beside the same requests to the pod itself
dead           one pod of two is killed, and is in the endpoints for 3 s more; one of two leaves in good order
killed         Envoy is killed, with clients who know no other router
hold           stable has no pod for 2 s
away           the agent is killed, and comes back later to 100 models
latch          a candidate answers 500 to everything, and the operator asks once and never again; and what it costs to
               look at the candidates of 99 models

Lost is every answer but 200, and none at all, by a client that never asks again. Envoy and agent have core 0; pods,
clients and the API server have core 1. Needs nothing else to run on either.
"""

import argparse
import asyncio
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import aiohttp

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests, where the packages are

from bench.arrivals import Seen
from bench.load import LOAD_CORE
from bench.routing import (
    CANDIDATE,
    MODEL,
    PODS,
    STABLE,
    Clients,
    Prober,
    Router,
    ServingPod,
    clients,
    cpu_seconds,
    memory,
    operated,
    pods,
    ports,
    route,
    routing,
    until,
    waited_seconds,
)
from bench.scenarios.report import Report, percentile
from bench.split import ALPHA, Split
from routed import Cluster, Object, Pod

CONFIRMED_BAR = 1.0
AGENT_BAR = 60 << 20
ADDED_BAR = 0.5e-3
MANY = 100
CONNECTIONS = 64
RATE = 400.0
HELD_RATE = 200.0
LATCH_RATE, LATCH_WEIGHT, LATCH_SECONDS = 100.0, 5, 12.0
LATCH_BAR = 2.0, 40
"""Seconds or answers of the candidate, whichever is later."""
LOOKED_SECONDS = 5.0
ANSWER_SECONDS = 0.02
"""Of a pod that is to be asked while something dies: a few requests are always on their way."""
FRESH = 0.5
"""The share of clients that come by a connection of their own meanwhile."""
POISON = "poison"
POISONED = "bad?"
"""A revision that no path can have: Envoy refuses its route."""
Figures = dict[str, Any]


# ---------------------------------------------------------------- what the API server tells


def endpoint(pod: ServingPod, *, terminating: bool = False) -> Object:
    conditions = {"ready": not terminating, "serving": True, "terminating": terminating}
    return {"addresses": [pod.ip], "conditions": conditions}


def tell_pods(cluster: Cluster, revision: str, *serving: ServingPod) -> None:
    cluster.slice(MODEL, revision, [endpoint(pod) for pod in serving])


def tell_others(cluster: Cluster, found: Sequence[int]) -> None:
    """Models that have no pods, at these ports."""
    for place, port in enumerate(found):
        cluster.model(f"other-{place:02}", route(port, 1))


# ---------------------------------------------------------------- figures


def milliseconds(values: Sequence[float]) -> str:
    found = (percentile(list(values), 0.5), percentile(list(values), 0.99), max(values))
    return " ".join(f"{value * 1e3:.1f}" for value in found)


def mebibytes(found: float) -> str:
    return f"{found / (1 << 20):.1f} MiB"


def losses(seen: Seen) -> str:
    """How many of how many, and why."""
    why = ", ".join(f"{count} {what}" for what, count in Counter(what for _, _, what in seen.lost).items())
    return f"{len(seen.lost)} of {seen.asked}" + (f" ({why})" if why else "")


def together(all_seen: Sequence[Seen]) -> Seen:
    seen = Seen()
    for each in all_seen:
        seen.due += each.due
        seen.took += each.took
        seen.lost += each.lost
    return seen


def on_their_way(seen: Seen, moment: float) -> int:
    answered = zip(seen.due, seen.took, strict=True)
    lost = sum(due <= moment < at for due, at, _ in seen.lost)
    return lost + sum(due <= moment < due + took for due, took in answered)


# ---------------------------------------------------------------- acknowledged


async def acknowledged(report: Report, folder: Path) -> Figures:
    figures: Figures = {}
    for what, others, poisoned in (("1 model", 0, False), ("100 models", 99, False), ("100, one poisoned", 98, True)):
        cluster, found = Cluster(), ports(others + 2)
        with pods(folder, PODS[STABLE][0], PODS[CANDIDATE][0]) as serving:
            for pod in serving:
                await pod.wait()
            cluster.model(MODEL, route(found[0], 1))
            for revision, pod in zip((STABLE, CANDIDATE), serving, strict=True):
                tell_pods(cluster, revision, pod)
            tell_others(cluster, found[2:])
            if poisoned:
                cluster.model(POISON, route(found[1], 1, candidate=POISONED))
            async with routing(folder / f"{others}-others", cluster) as router:
                changes = await _changes(report, cluster, router, found, poisoned=poisoned)
        for seen in ("in force", "confirmed"):
            said = f"{milliseconds(changes[seen])} ms"
            if seen == "in force":
                report.figure(f"{what}: a pod is asked by the new route, p50 p99 max", said)
            else:
                passed = percentile(changes[seen], 0.99) <= CONFIRMED_BAR
                report.bar(f"{what}: confirmed, p50 p99 max", said, "p99 <= 1 s", passed=passed, timed=True)
        figures[what] = changes
    return figures


async def _changes(
    report: Report, cluster: Cluster, router: Router, found: Sequence[int], *, poisoned: bool
) -> dict[str, list[float]]:
    """Seconds from each change on: until a pod is asked by the new route, and until /signals confirms it.

    To ask for signals all the time would slow down what is measured. So clients find out when the route is in force,
    and the agent is asked from then on, which is once, as a rule.
    """
    in_force: list[float] = []
    confirmed: list[float] = []
    asked = 0
    await router.runs(MODEL, 1)
    prober = Prober(*await asyncio.open_connection("127.0.0.1", found[0]))
    for turn in range(40 if report.short else 200):
        generation, weight = turn + 2, turn * 7 % 95 + 1
        if poisoned:  # in turns by Envoy, and by the agent
            poison = route(found[1], generation, candidate=POISONED)
            if turn % 2:
                poison["slots"]["a"]["weight"] = 90
            cluster.model(POISON, poison)
        cluster.model(MODEL, route(found[0], generation, weight))
        wrote = time.monotonic()
        async with asyncio.timeout(20):
            while True:
                if await prober.generation() == generation:
                    break
                await asyncio.sleep(0.001)
            in_force.append(time.monotonic() - wrote)
            while True:
                asked += 1
                told = await router.signals()
                if told[MODEL]["generation"] == generation:
                    break
        confirmed.append(time.monotonic() - wrote)
        assert told[MODEL]["slots"]["b"]["weight"] == weight, told[MODEL]
        await asyncio.sleep(random.uniform(0.02, 0.05))
    prober.close()
    if poisoned:
        report.say(f"asked for signals {asked} times")
        refused = await _refusals(cluster, router, found[1])
        passed = bool(refused["Envoy"]) and bool(refused["the agent"])
        report.bar("the poisoned one", f"refused by {' and by '.join(refused)}", "both say why", passed=passed)
    return {"in force": in_force, "confirmed": confirmed}


async def _refusals(cluster: Cluster, router: Router, port: int) -> dict[str, str]:
    """In the words of each who refuses."""
    refused = {}
    for who, revision, weight in (("Envoy", POISONED, 0), ("the agent", CANDIDATE, -1)):
        cluster.model(POISON, route(port, 10**6, weight, candidate=revision))
        await asyncio.sleep(0.5)
        refused[who] = (await router.signals())[POISON]["refused"]
    return refused


# ---------------------------------------------------------------- memory


async def resident(report: Report, folder: Path) -> Figures:
    figures: Figures = {}
    cluster, found = Cluster(), ports(MANY)
    cluster.model(MODEL, route(found[0], 1))
    with pods(folder, PODS[STABLE][0]) as (pod,):
        await pod.wait()
        tell_pods(cluster, STABLE, pod)
        async with routing(folder / "resident", cluster) as router:
            for models in (1, MANY):
                if models > 1:
                    tell_others(cluster, found[1:])
                    await router.runs(f"other-{MANY - 2:02}", 1)
                    await router.ready()
                await (await clients(found[0], rate=HELD_RATE, seconds=2)).seen()
                figures[str(models)] = await _memory(report, router, models)
            router.envoy.kill()
            router.envoy.start()
            await router.ready()
            peak = figures["anew"] = memory(router.agent.pid, "VmHWM")
            report.figure(f"{MANY} models: the agent's peak, when Envoy is told all of it anew", mebibytes(peak))
    return figures


async def _memory(report: Report, router: Router, models: int) -> Figures:
    took, size = [], 0
    for _ in range(50):
        start = time.monotonic()
        size = len((await router.ask("/signals"))[1])
        took.append(time.monotonic() - start)
        await asyncio.sleep(0.01)
    what = f"{models} model{'s' if models > 1 else ''}"
    report.figure(f"{what}: /signals", f"{size} bytes, {size / models / 1000:.1f} kB a model")
    report.figure(f"{what}: one /signals takes, p50 p99 max", f"{milliseconds(took)} ms")
    agent, envoy = memory(router.agent.pid), memory(router.envoy.pid)
    report.figure(f"{what}: Envoy's memory", mebibytes(envoy))
    peak = memory(router.agent.pid, "VmHWM")
    said = f"{mebibytes(agent)} (peak {peak / (1 << 20):.1f})"
    report.bar(f"{what}: the agent's memory", said, "<= 60 MiB", passed=agent <= AGENT_BAR)
    return {"signals_seconds": took, "signals_bytes": size, "agent": agent, "agent_peak": peak, "envoy": envoy}


# ---------------------------------------------------------------- split


async def split(report: Report, folder: Path) -> Figures:
    figures: Figures = {}
    requests = 20_000 if report.short else 100_000
    cluster, (port,) = Cluster(), ports(1)
    cluster.model(MODEL, route(port, 1))
    with pods(folder, PODS[STABLE][0], PODS[CANDIDATE][0]) as serving:
        for revision, pod in zip((STABLE, CANDIDATE), serving, strict=True):
            await pod.wait()
            tell_pods(cluster, revision, pod)
        async with routing(folder / "split", cluster) as router:
            for turn, weight in enumerate((1, 5, 50)):
                cluster.model(MODEL, route(port, turn + 2, weight))
                await router.runs(MODEL, turn + 2)
                before = [await pod.count() for pod in serving]
                load = await clients(port, connections=CONNECTIONS, seconds=600, requests=requests)
                tested, counted, seen = await _scraped(router, weight, load)
                asked = [await pod.count() - known for pod, known in zip(serving, before, strict=True)]
                said = f"{counted[1]} of {sum(counted)}, ln E {tested.evidence:.2f} in {tested.scrapes} scrapes"
                bar = f"ln E < {-math.log(ALPHA):.2f}"
                report.bar(f"{weight} %", said, bar, passed=not tested.broken and sum(counted) == requests)
                said = f"{asked[1]} of {sum(asked)}"
                report.bar(f"{weight} %, counted by the pods", said, "the same", passed=asked == counted)
                report.bar(f"{weight} %, lost", losses(seen), "0", passed=not seen.lost)
                figures[str(weight)] = {"counted": counted, "asked": asked, "evidence": tested.evidence}
    return figures


async def _scraped(router: Router, weight: int, load: Clients) -> tuple[Split, list[int], Seen]:
    """The test after a scrape each second, as an operator does; what Envoy has counted; what the clients saw."""
    tested, start = Split(), await _divided(router)
    known, ended = start, asyncio.create_task(load.seen())
    while True:
        await asyncio.wait([ended], timeout=1.0)
        over = ended.done()
        now = await _divided(router)
        stable, candidate = (after - before for after, before in zip(now, known, strict=True))
        tested, known = tested.after(weight / 100, candidate, stable), now
        if tested.broken or over:
            break
    seen = await ended
    counted = [after - before for after, before in zip(await _divided(router), start, strict=True)]
    return tested, counted, seen


async def _divided(router: Router) -> list[int]:
    slots = (await router.signals())[MODEL]["slots"]
    return [slots[slot]["divided"]["answered"] for slot in ("a", "b")]


# ---------------------------------------------------------------- latency


async def latency(report: Report, folder: Path) -> Figures:
    rounds, seconds = (3, 1.5) if report.short else (9, 4.0)
    cluster, (port,) = Cluster(), ports(1)
    cluster.model(MODEL, route(port, 1))
    with pods(folder, PODS[STABLE][0]) as (pod,):
        await pod.wait()
        tell_pods(cluster, STABLE, pod)
        async with routing(folder / "latency", cluster) as router, operated(router):
            await router.runs(MODEL, 1)
            capacity = await _capacity(report, router, pod, port, 2.0 if report.short else 6.0)
            rate = capacity["per_second"] / 2
            found: dict[str, list[Seen]] = {"direct": [], "routed": []}
            waits: list[float] = []
            for turn in range(rounds + 1):
                for what, ip, to in (("direct", pod.ip, Pod.HTTP), ("routed", "127.0.0.1", port))[:: 1 - turn % 2 * 2]:
                    load = await clients(to, ip, rate=rate, seconds=seconds, connections=CONNECTIONS)
                    waited = waited_seconds(router.envoy.pid)
                    seen = await load.seen()
                    if what == "routed":
                        waits.append((waited_seconds(router.envoy.pid) - waited) / seconds)
                    found[what] += [seen] if turn else []  # the first round warms up
    times = {what: [(percentile(s.took, 0.5), percentile(s.took, 0.99)) for s in found[what]] for what in found}
    for what, each in times.items():
        middle = " ".join(f"{statistics.median(one[place] for one in each) * 1e3:.2f}" for place in (0, 1))
        report.figure(f"{what} at {rate:.0f} requests/s, p50 p99", f"{middle} ms")
    added = [
        [after[place] - before[place] for before, after in zip(times["direct"], times["routed"], strict=True)]
        for place in (0, 1)
    ]
    said = [
        f"{statistics.median(each) * 1e3:.2f} ms ({min(each) * 1e3:.2f} to {max(each) * 1e3:.2f} in {rounds} rounds)"
        for each in added
    ]
    report.bar("added, median", said[0], "<= 0.5 ms", passed=statistics.median(added[0]) <= ADDED_BAR, timed=True)
    report.figure("added, p99", said[1])
    said = [f"{share:.1%}" for share in (statistics.median(waits), max(waits))]
    report.figure("Envoy waited for its core, median max of the rounds", " ".join(said))
    seen = together(found["routed"])
    report.bar("lost", losses(seen), "0", passed=not seen.lost)
    return {"capacity": capacity, "times": times}


async def _capacity(report: Report, router: Router, pod: ServingPod, port: int, seconds: float) -> Figures:
    """In closed loop, and whose core was full meanwhile."""
    await (await clients(port, connections=CONNECTIONS, seconds=1)).seen()
    before = [cpu_seconds(each.pid) for each in (router.envoy, pod)]
    seen = await (await clients(port, connections=CONNECTIONS, seconds=seconds)).seen()
    used = [cpu_seconds(each.pid) - known for each, known in zip((router.envoy, pod), before, strict=True)]
    per_second = len(seen.took) / seen.seconds
    said = f"{per_second:.0f} requests/s, p50 p99 max {milliseconds(seen.took)} ms"
    report.figure(f"capacity, {CONNECTIONS} connections", said)
    envoy, beside = used[0] / seen.seconds, (used[1] + seen.cpu) / seen.seconds
    report.figure("cores at capacity", f"Envoy's {envoy:.0%} busy, that of pod and clients {beside:.0%}")
    report.figure("Envoy's CPU for a request", f"{used[0] / seen.asked * 1e6:.0f} us")
    return {"per_second": per_second, "envoy": envoy, "beside": beside, "lost": len(seen.lost)}


# ---------------------------------------------------------------- what dies


async def dead(report: Report, folder: Path) -> Figures:
    return {
        "killed": await _pod_goes(report, folder, in_order=False),
        "leaves": await _pod_goes(report, folder, in_order=True),
    }


async def _pod_goes(report: Report, folder: Path, *, in_order: bool) -> Figures:
    trials = 2 if report.short else 6
    cluster, (port,) = Cluster(), ports(1)
    cluster.model(MODEL, route(port, 1))
    all_seen, there = [], 0
    with pods(folder, *PODS[STABLE], seconds=ANSWER_SECONDS) as (goes, stays):
        await stays.wait()
        tell_pods(cluster, STABLE, stays)
        async with routing(folder / f"dead-{in_order}", cluster) as router, operated(router):
            for _ in range(trials):
                goes.kill()
                goes.start()
                await goes.wait()
                tell_pods(cluster, STABLE, goes, stays)
                await _has_pods(router, 2)
                load = await clients(port, rate=RATE, fresh=FRESH, seconds=6)
                await asyncio.sleep(1.5)
                moment = time.monotonic()
                if in_order:
                    cluster.slice(MODEL, STABLE, [endpoint(goes, terminating=True), endpoint(stays)])
                    await asyncio.sleep(1)
                    await goes.leave()
                else:
                    goes.kill()
                    await asyncio.sleep(3)
                tell_pods(cluster, STABLE, stays)
                all_seen.append(await load.seen())
                there += -(-on_their_way(all_seen[-1], moment) // 2)
    seen = together(all_seen)
    times = f"{trials} times, {RATE:.0f} requests/s"
    if in_order:
        report.bar(f"a pod leaves, {times}: lost", losses(seen), "0", passed=not seen.lost)
    else:
        most = there + int(RATE / 2) * trials
        bar = f"<= {there} on their way + {int(RATE / 2) * trials}"
        report.bar(f"a pod is killed, {times}: lost", losses(seen), bar, passed=len(seen.lost) <= most)
    report.figure(f"{'leaves' if in_order else 'killed'}: answered, p50 p99 max", f"{milliseconds(seen.took)} ms")
    return {"asked": seen.asked, "lost": seen.lost, "on their way": there}


async def _has_pods(router: Router, count: int) -> None:
    async def has() -> bool:
        return bool((await router.signals())[MODEL]["slots"]["a"]["pods"] == count)

    await until(has, 10, 0.02)


async def killed(report: Report, folder: Path) -> Figures:
    return {str(models): await _envoy_dies(report, folder, models) for models in (1, MANY)}


async def _envoy_dies(report: Report, folder: Path, models: int) -> Figures:
    cluster, found = Cluster(), ports(models)
    cluster.model(MODEL, route(found[0], 1))
    tell_others(cluster, found[1:])
    all_seen, gone, told, there = [], [], [], 0
    with pods(folder, *PODS[STABLE], seconds=ANSWER_SECONDS) as serving:
        for pod in serving:
            await pod.wait()
        tell_pods(cluster, STABLE, *serving)
        async with routing(folder / f"{models}", cluster) as router, operated(router):
            for _ in range(1 if report.short else 5):
                await _has_pods(router, 2)
                load = await clients(found[0], rate=RATE, fresh=FRESH, seconds=6)
                await asyncio.sleep(1.5)
                moment = time.monotonic()
                router.envoy.kill()
                router.envoy.start()  # as a kubelet does
                await router.ready()
                told.append(time.monotonic() - moment)
                all_seen.append(await load.seen())
                there += on_their_way(all_seen[-1], moment)
                gone.append(max((due for due, _, _ in all_seen[-1].lost), default=moment) - moment)
    seen = together(all_seen)
    what = f"{models} model{'s' if models > 1 else ''}"
    report.figure(f"{what}: killed {len(gone)} times, {RATE:.0f} requests/s: lost", losses(seen))
    report.figure(f"{what}: of these on their way at that moment", str(there))
    report.figure(f"{what}: nobody is served for, p50 p99 max", f"{milliseconds(gone)} ms")
    report.figure(f"{what}: until Envoy has been told everything, p50 p99 max", f"{milliseconds(told)} ms")
    return {"asked": seen.asked, "lost": seen.lost, "gone": gone, "told": told}


async def hold(report: Report, folder: Path) -> Figures:
    cluster, (port,) = Cluster(), ports(1)
    cluster.model(MODEL, route(port, 1))
    all_seen, waits, after = [], [], []
    with pods(folder, PODS[STABLE][0], seconds=ANSWER_SECONDS) as (pod,):
        await pod.wait()
        tell_pods(cluster, STABLE, pod)
        async with routing(folder / "hold", cluster) as router, operated(router):
            for _ in range(1 if report.short else 5):
                await _has_pods(router, 1)
                load = await clients(port, rate=HELD_RATE, fresh=FRESH, seconds=6)
                await asyncio.sleep(1.5)
                tell_pods(cluster, STABLE)
                gone = time.monotonic()
                await asyncio.sleep(0.5)
                await pod.leave()
                pod.start()
                await pod.wait()
                await asyncio.sleep(gone + 2 - time.monotonic())
                tell_pods(cluster, STABLE, pod)
                back = time.monotonic()
                seen = await load.seen()
                all_seen.append(seen)
                held = [(due, took) for due, took in zip(seen.due, seen.took, strict=True) if gone <= due <= back]
                waits += [took for _, took in held]
                after += [due + took - back for due, took in held if due + took > back]
    seen = together(all_seen)
    report.bar(f"{HELD_RATE:.0f} requests/s, no pod for 2 s: lost", losses(seen), "0", passed=not seen.lost)
    report.figure(f"{len(after)} that waited: the wait, p50 p99 max", f"{milliseconds(waits)} ms")
    report.figure("until they are answered, from the pod's return on", f"{milliseconds(after)} ms")
    return {"asked": seen.asked, "lost": seen.lost, "waits": waits, "after": after}


async def away(report: Report, folder: Path) -> Figures:
    seconds = 4.0 if report.short else 10.0
    cluster, found = Cluster(), ports(MANY)
    cluster.model(MODEL, route(found[0], 1, 50))
    tell_others(cluster, found[1:])
    with pods(folder, PODS[STABLE][0], PODS[CANDIDATE][0], seconds=ANSWER_SECONDS) as serving:
        for revision, pod in zip((STABLE, CANDIDATE), serving, strict=True):
            await pod.wait()
            tell_pods(cluster, revision, pod)
        async with routing(folder / "away", cluster) as router, operated(router):
            await router.runs(MODEL, 1)
            load = await clients(found[0], rate=HELD_RATE, fresh=FRESH, seconds=seconds + 6)
            await asyncio.sleep(1.5)
            router.agent.kill()
            gone = time.monotonic()
            await asyncio.sleep(seconds / 2)
            cluster.model(MODEL, route(found[0], 2, 30))
            await asyncio.sleep(seconds / 2)
            router.agent.start()
            back = time.monotonic()
            await router.runs(MODEL, 2)
            told = time.monotonic() - back
            await router.ready()
            ready = time.monotonic() - back
            seen = await load.seen()
    meanwhile = [loss for loss in seen.lost if gone <= loss[1] < back]
    later = [loss for loss in seen.lost if loss[1] >= back]
    report.bar(f"{HELD_RATE:.0f} requests/s, {seconds:g} s: lost", str(len(meanwhile)), "0", passed=not meanwhile)
    report.bar("lost when it is back", str(len(later)), "0", passed=not later)
    report.bar("lost in all", losses(seen), "0", passed=not seen.lost)
    report.figure("from its start to what was new, and to ready, 100 models", f"{told:.2f} {ready:.2f} s")
    return {"asked": seen.asked, "lost": seen.lost, "told": told, "ready": ready}


# ---------------------------------------------------------------- latch


async def latch(report: Report, folder: Path) -> Figures:
    figures: Figures = {"rounds": []}
    cluster, found = Cluster(), ports(MANY)
    port = found[0]
    cluster.model(MODEL, route(port, 1))
    with pods(folder, PODS[STABLE][0]) as (good,), pods(folder, PODS[CANDIDATE][0], status=500) as (bad,):
        for revision, pod in ((STABLE, good), (CANDIDATE, bad)):
            await pod.wait()
            tell_pods(cluster, revision, pod)
        async with routing(folder / "latch", cluster) as router:
            for turn in range(2 if report.short else 10):
                figures["rounds"].append(await _latched(report, cluster, router, port, 2 * turn + 2))
            figures["looks"] = await _looks(report, cluster, router, good, found[1:])
    seconds, failed = zip(*figures["rounds"], strict=True)
    later = [one <= LATCH_BAR[0] or many <= LATCH_BAR[1] for one, many in figures["rounds"]]
    said = f"{percentile(list(seconds), 0.5):.2f} {max(seconds):.2f} s, {percentile(list(failed), 0.5):g} {max(failed)}"
    what = f"{LATCH_WEIGHT} % of {LATCH_RATE:.0f} requests/s fail, {len(later)} times: until the last, p50 max"
    bar = f"<= the later of {LATCH_BAR[0]:g} s and {LATCH_BAR[1]} answers"
    report.bar(what, f"{said} answers", bar, passed=all(later))
    return figures


async def _latched(report: Report, cluster: Cluster, router: Router, port: int, generation: int) -> tuple[float, int]:
    """Seconds from the first answer that failed to the last, and how many there were.

    The operator has asked when the candidate gets weight, and not again before the end: what has taken the weight away
    by then is not its absence, which is borne for a minute.
    """
    load = await clients(port, rate=LATCH_RATE, seconds=LATCH_SECONDS)
    await asyncio.sleep(1)
    cluster.model(MODEL, route(port, generation, LATCH_WEIGHT))
    await router.runs(MODEL, generation)
    seen = await load.seen()
    told = (await router.signals())[MODEL]["slots"]["b"]
    report.say(f"weight {told['weight']}: {told['latched']}")
    assert told["latched"], told
    assert all(what.startswith("500") for _, _, what in seen.lost), seen.lost
    cluster.model(MODEL, route(port, generation + 1))
    await router.runs(MODEL, generation + 1)
    first, last = min(at for _, at, _ in seen.lost), max(at for _, at, _ in seen.lost)
    return last - first, len(seen.lost)


async def _looks(report: Report, cluster: Cluster, router: Router, pod: ServingPod, found: Sequence[int]) -> Figures:
    """The processor that agent and Envoy take while they have nothing to do but to look at candidates."""
    figures: Figures = {}
    for candidates in (0, len(found)):
        for place, port in enumerate(found):
            name = f"other-{place:02}"
            for revision in (STABLE, CANDIDATE):
                cluster.slice(name, revision, [endpoint(pod)])
            cluster.model(name, route(port, candidates + 1, LATCH_WEIGHT * bool(candidates)))
        await router.runs(f"other-{len(found) - 1:02}", candidates + 1)
        await _ask_each(found)
        await router.ready()
        before = [cpu_seconds(each.pid) for each in (router.agent, router.envoy)]
        await asyncio.sleep(LOOKED_SECONDS)
        used = [
            (cpu_seconds(each.pid) - known) / LOOKED_SECONDS
            for each, known in zip((router.agent, router.envoy), before, strict=True)
        ]
        figures[str(candidates)] = used
        said = f"{used[0]:.1%} and {used[1]:.1%} of a core"
        report.figure(f"{len(found)} models, {candidates} candidates: agent and Envoy take", said)
    figures["agent"] = agent = memory(router.agent.pid)
    report.figure(f"{len(found)} candidates, all with pods: the agent's memory", mebibytes(agent))
    return figures


async def _ask_each(found: Sequence[int]) -> None:
    """Until each of these models has counted something of both versions, as a rule: Envoy tells only what it has."""
    async with aiohttp.ClientSession() as session:
        for place, port in enumerate(found):
            for _ in range(40):
                url = f"http://127.0.0.1:{port}/v2/models/other-{place:02}/infer"
                async with session.post(url, data=b"{}") as answer:
                    assert answer.status == 200


# ---------------------------------------------------------------- all of it

Part = Callable[[Report, Path], Coroutine[Any, Any, Figures]]
PARTS: dict[str, Part] = {
    "acknowledged": acknowledged,
    "memory": resident,
    "split": split,
    "latency": latency,
    "dead": dead,
    "killed": killed,
    "hold": hold,
    "away": away,
    "latch": latch,
}


async def bench(options: argparse.Namespace) -> int:
    report, figures = Report(options.short), {}
    with tempfile.TemporaryDirectory() as name:
        for part, measure in PARTS.items():
            if part in (options.parts or PARTS):
                report.scenario = part
                folder = Path(name) / part
                folder.mkdir()
                figures[part] = await measure(report, folder)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"\nfigures: {options.json}")
    return report.end()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all without one")
    parser.add_argument("--short", action="store_true", help="fewer changes, requests and deaths; the same bars")
    parser.add_argument("--json", type=Path, default=Path("dist/bench-router.json"), help="where the figures go")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    os.sched_setaffinity(0, {LOAD_CORE})
    return asyncio.run(bench(options))


if __name__ == "__main__":
    sys.exit(main())
