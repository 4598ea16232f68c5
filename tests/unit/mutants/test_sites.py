"""Every kind of small change is made, one at a time; what nobody would do by mistake is left alone."""

import ast

import pytest

from mutants.__main__ import FOUND, expected, report
from mutants.sites import mutants


def changes(source: str) -> list[str]:
    return [mutant.after for mutant in mutants("m", ast.parse(source))]


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        pytest.param("x = 0.5", ["x = 0.505"], id="a fraction"),
        pytest.param("x = 0.0", ["x = 0.01"], id="no fraction"),
        pytest.param("x = 3", ["x = 4", "x = 2"], id="a whole number"),
        pytest.param("x = 0", ["x = 1"], id="none"),
        pytest.param("x = True", ["x = False"], id="a truth"),
        pytest.param("x = a + b", ["a - b"], id="a sum"),
        pytest.param("x = a // b", ["a / b"], id="a whole quotient"),
        pytest.param("x = a ** b", ["a * b"], id="a power"),
        pytest.param("x = -a", ["x = a"], id="a sign"),
        pytest.param("x = not a", ["x = a"], id="a denial"),
        pytest.param("x = a < b", ["a <= b", "a >= b"], id="a comparison"),
        pytest.param("x = a < b < c", ["a <= b < c", "a >= b < c", "a < b <= c", "a < b >= c"], id="two comparisons"),
        pytest.param("x = a and b", ["a or b"], id="a conjunction"),
        pytest.param("x = min(a, b)", ["max(a, b)"], id="the smaller one"),
        pytest.param("x = math.exp(a)", ["x = a"], id="a function of math"),
        pytest.param("x = a if b else c", ["x = c if b else a"], id="one of two values"),
        pytest.param("if a:\n    b = c", ["if not a:"], id="a condition"),
        pytest.param("check(a)", ["pass"], id="a call that stands alone"),
        pytest.param("raise E", ["pass"], id="an error"),
        pytest.param("def f(a=1.0): g = a", ["def f(a=1.01):"], id="a default"),
    ],
)
def test_a_change_is_made(source: str, wanted: list[str]) -> None:
    assert changes(source) == wanted


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("def f(a: int | None) -> int | None: return a", id="types"),
        pytest.param("a: int | None", id="types of names"),
        pytest.param("@cache(size=1)\ndef f(): return a", id="decorators"),
        pytest.param("class A(B[1], frozen=True): a = b", id="what a class is declared with"),
        pytest.param("raise_it = f'{a + 1}'", id="words"),
        pytest.param("x = zip(a, b, strict=True)", id="what the types see to"),
    ],
)
def test_what_nobody_would_change_by_mistake_is_left_alone(source: str) -> None:
    assert changes(source) == []


def test_a_mutant_is_the_module_with_one_change_and_has_a_name_of_its_own() -> None:
    tree = ast.parse("class A:\n    def f(self):\n        return g(1) + g(1)\n")
    found = mutants("m.py", tree)
    assert [mutant.name for mutant in found] == [
        "m.py: A.f: g(1)  ->  g(2)",
        "m.py: A.f: g(1)  ->  g(0)",
        "m.py: A.f: g(1) + g(1)  ->  g(1) - g(1)",
        "m.py: A.f: g(1)  ->  g(2) (2)",
        "m.py: A.f: g(1)  ->  g(0) (2)",
    ]
    found[3].apply()
    assert ast.unparse(tree).splitlines()[-1].strip() == "return g(1) + g(2)"


def test_every_survivor_that_is_listed_is_a_mutant_that_there_is() -> None:
    """Whether it still survives is for `make mutants` to find."""
    names = [mutant.name for _, found in FOUND.values() for mutant in found]
    assert len(names) == len(set(names)) > 600
    assert expected().keys() <= set(names)
    assert all(reason.strip() for reason in expected().values())


@pytest.mark.parametrize(
    ("module", "alive", "says"),
    [
        pytest.param("tidegate_operator.core.evidence.split", 0, "", id="nothing survives, and nothing may"),
        pytest.param("tidegate_operator.core.evidence.split", 1, "NEW: no test notices split.py", id="a new one"),
        pytest.param("tidegate_operator.core.evidence.split", 2, "TOO FEW: at least 90%", id="too many"),
        pytest.param("tidegate_contract.evidence", 0, "GONE: listed in survivors.toml", id="one that is gone"),
    ],
)
def test_a_run_fails_unless_those_survive_that_may(
    module: str, alive: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = FOUND[module]
    tasks = [(module, number, ["a test"], 1) for number in range(len(found))]
    assert report(tasks, found[:alive], False, 1.0) == int(bool(says))
    assert says in capsys.readouterr().out
