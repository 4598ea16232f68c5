"""`make verify`: search every world; then take away each guard and see that it is missed."""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from tidegate_operator.core.guards import ALL, Guard, Guards
from verify import looks, rollout, silence, themes, traffic
from verify.pairs import enumerate_pairs, pair_of
from verify.search import Result, search

PROCESSES = 2
ROLLOUTS = [start.name for start in rollout.starts()]
WORLDS = [traffic.NAME, *ROLLOUTS, *(world.name for world in themes.worlds()), silence.NAME]
"""What takes longest begins first."""
ELSEWHERE = traffic.GUARDS | rollout.MISSED.keys() | silence.GUARDS
"""Those that are missed in a search of their own, and not in the worlds of `themes`."""
Task = tuple[str, Guard | None, float, bool]


def main(argv: list[str] | None = None) -> int:
    """0 if every world keeps every promise, and every guard is missed when it is taken away."""
    parser = argparse.ArgumentParser(prog="verify", description=__doc__)
    parser.add_argument("--world", help="this world only", choices=WORLDS)
    parser.add_argument("--guard", help="take away this guard only", choices=[str(guard) for guard in Guard])
    parser.add_argument("--short", action="store_true", help="only the first mixture of troubles of each world")
    parser.add_argument("--seconds", type=float, default=1e9, help="give a world up after so long")
    asked = parser.parse_args(argv)
    names = [asked.world] if asked.world else WORLDS
    started = time.monotonic()
    with multiprocessing.get_context("fork").Pool(PROCESSES, initializer=looks.remember_pure_functions) as pool:
        wrong = False
        if not asked.guard:
            tasks = [(name, None, asked.seconds, asked.short) for name in names]
            broken = report_worlds(pool.imap_unordered(run, tasks, 1))
            names = [name for name in names if name not in broken]
            wrong |= bool(broken) | (not asked.world and report_pair())
        if not asked.world or asked.guard:
            guards = [Guard(asked.guard)] if asked.guard else list(Guard)
            tries = [(guard, found) for guard in guards for found in tries_of(guard, names)]
            wrong |= report_guards(pool.imap_unordered(missed, tries, 1))
    print(f"\n{'BROKEN' if wrong else 'all of it holds'}, {time.monotonic() - started:.0f} s")
    return int(wrong)


def run(task: Task) -> Result:
    name, guard, seconds, short = task
    guards = Guards(frozenset({guard})) if guard else ALL
    if name == traffic.NAME:
        return traffic.search(guards, traffic.STARTS[:1] if short else traffic.STARTS)
    if name == silence.NAME:
        return silence.search(guards)
    if name in ROLLOUTS:
        start = rollout.named(name)
        return rollout.search(start._replace(budgets=start.budgets[:1]) if short else start, guards, seconds)
    world = themes.named(name)
    return search(replace(world, budgets=world.budgets[:1]) if short else world, guards, seconds=seconds)


def tries_of(guard: Guard, names: list[str]) -> Iterator[list[str]]:
    """Where a guard must be missed, of these worlds: in one of each of the lists, the likeliest first."""
    if len(names) == 1:
        yield names
        return
    if guard in traffic.GUARDS:
        yield [traffic.NAME]
    if guard in rollout.MISSED:
        yield [rollout.MISSED[guard]]
    if guard in silence.GUARDS:
        yield [silence.NAME]
    if guard not in ELSEWHERE or guard in themes.MISSED:
        found = [world.name for world in themes.worlds() if world.name in names]
        yield sorted(found, key=lambda name: (name != themes.MISSED.get(guard, themes.FIRST), found.index(name)))


def missed(task: tuple[Guard, list[str]]) -> tuple[Guard, Result | None, float]:
    """The first world in which the lack of a guard breaks a promise."""
    guard, names = task
    started = time.monotonic()
    for name in names:
        result = run((name, guard, 30.0, False))
        if result.counterexample:
            return guard, result, time.monotonic() - started
    return guard, None, time.monotonic() - started


def report_worlds(results: Iterable[Result]) -> set[str]:
    """Prints a line for each world; returns those that do not hold."""
    print(
        f"{'world':<12}{'states':>9}{'truths':>8}{'at rest':>8}{'moves':>10}{'looks':>8}{'depth':>6}{'s':>6}",
        flush=True,
    )
    broken: set[str] = set()
    for result in results:
        print(
            f"{result.world:<12}{result.states:>9}{result.truths:>8}{result.ends:>8}{result.transitions:>10}"
            f"{result.looks:>8}{result.depth:>6}{result.seconds:>6.0f}{'' if result.complete else '  GIVEN UP'}",
            flush=True,
        )
        if result.counterexample:
            print(f"BROKEN in world {result.world}: {result.counterexample}", flush=True)
        if result.counterexample or not result.complete:
            broken.add(result.world)
    return broken


def report_pair() -> bool:
    started = time.monotonic()
    pairs, stands_for, error = enumerate_pairs(pair_of(themes.pair()))
    seconds = time.monotonic() - started
    print(f"two models at once: {pairs} pairs of the {stands_for} of the product, {seconds:.0f} s", flush=True)
    if error:
        print(f"BROKEN for two models: {error}")
    return error is not None


def report_guards(results: Iterator[tuple[Guard, Result | None, float]]) -> bool:
    print(f"\n{'without guard':<18}{'world':<12}{'moves':>6}{'s':>6}  promise that is broken", flush=True)
    wrong = False
    for guard, result, seconds in results:
        if result is None or result.counterexample is None:
            print(f"{guard:<18}{'NOT MISSED in any world':<18}{seconds:>6.0f}", flush=True)
            wrong = True
        else:
            found = result.counterexample
            print(f"{guard:<18}{result.world:<12}{len(found.moves):>6}{seconds:>6.0f}  {found.promise}", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
