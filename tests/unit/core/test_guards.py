"""Before every write stand guards and nothing else: read from the source, so that nobody can forget to enter one.

`make verify` takes every guard away in turn and looks for a world in which something goes
wrong. A branch that is no guard is one that nobody takes away, and so one that nobody has
shown to be needed. The few that stand there all the same are named below, each with its
reason; an entry that is no longer there is an error too.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate_operator.core.guards import ALL, Guard, Guards

PRODUCT = Path(__file__).parents[3] / "operator/tidegate_operator"
WRITES = {"Apply", "Scale", "Remove", "Keep", "Forget", "WriteStatus", "Evict"}

STRICT: dict[str, dict[str, dict[str, str]]] = {
    "core/writes.py": {
        "applies": {},
        "scales": {},
        "removes": {},
        "is_ours": {},
        "is_changed": {},
        "numbers_in": {"version.deployment == identity.name": "where the numbers of a Deployment stand"},
        "sized": {
            "child and workload and (version.replicas is not None)": (
                "without a Deployment there are no replicas; a version that is on its way out keeps what it has"
            ),
        },
        "uid_of": {"child": "what is not there has no uid; it decides about no write"},
    },
    "core/records.py": {
        "keeps": {},
        "new": {
            "choice.rejected or (choice.content is not None and choice.target == asked.name)": (
                "what the guards of `choose` have let through, or rejected"
            ),
            "kept or not settled": "repeats what `choose` has decided behind RESOLVED, NOT_PAUSED and NOT_REJECTED; "
            "one that is kept comes from the caches instead",
        },
        "forgets": {"each": "only names in the set that UNREFERENCED asks"},
        "orphaned": {"since or now": "only the time that is written: the first one stays"},
    },
    "core/choice.py": {
        "choose": {
            "target != status.revision": "only adds the decision, in words, to a status that is another one already",
            "status.revision": "only words",
            "revision.name == target": "looks for the target among what is kept",
            "known and target == asked.name": "which of two contents of the same name; RESOLVED stands before it",
            "of_target": "what is kept nowhere has no content: there is nothing that a write could say",
            "not revision.deleting": "what can be gone back to, as KEPT asks it of a person's rollback",
            "desired.paused or status.paused": "the fact that NOT_PAUSED asks",
        },
        "act": {
            "action is None or not guards.holds(Guard.NEW_ACTION, status.action is None or "
            "status.action.id != action.id)": ("without an action there is nothing to obey; the rest is the guard"),
            "match verb": "what each verb means",
            "except ActionError": "what nobody can obey is answered in words",
        },
    },
    "core/decide.py": {
        "decide": {
            "ref in wanted or ref in pods_of": "whose objects the status speaks of",
            "own": "only a name: what serves, also while nobody knows what it is",
            "claims.get(serving) == Claim.OURS and serving not in unkept and (not changes)": (
                "what the status says of the Deployment"
            ),
        },
        "invalid": {
            "condition.type != Type.DEGRADED": "only words",
            "before.phase or 'Idle'": "only words",
            "before.url or url(identity)": "only words",
        },
    },
    "core/look.py": {
        "look": {
            "ends_a_version(plan) or leads_to_routers(plan, known.identity)": (
                "whether ROUTERS_KNOWN has anything to be asked about"
            ),
            "creations(plan)": "whether OWNER_LIVES has anything to be asked about: nothing is read for a repair",
            "plan.status is None": "the answer of STATUS_CHANGED, which `decide` has asked",
            "isinstance(write, Keep)": "which write it is: every one is sent, these together with the status",
            "said or keeps": "whether there is anything to carry out together",
            "words": "after the write: what the API server said",
            "plan.saves": "whether a trial is to be kept: COUNTED asks whether it was",
        },
        "look_around": {"not writes": "there is nothing to write: nobody need be asked for it"},
        "sent": {"match write": "each write with its own preconditions, and each of these behind `keep`"},
    },
    "core/rollout.py": {
        "_through": {
            "not choice.target": "nobody knows yet what should serve: no version has pods, and none is to have any",
            "status.route": "only where the Service leads already",
            "status.route is None": "the first route: no request is sent by it before the Service leads to routers",
            "observed.port is None": "without a port there is no route that could be written",
            "scene.is_ours(Kind.DEPLOYMENT, scene.identity.name) or scene.leads_straight": (
                "whether requests go to pods straight: what ends that are PODS_KNOWN and SUCCEEDED"
            ),
            "enters": "the same",
            "enters or scene.before.route is None": "whether there is anybody yet who divides the requests",
            "comes": "the same: a candidate is none before that",
            "found.waits or evidence_waits or (LEFT_BEHIND if scene.left_behind else '')": "only words",
            "found.acknowledged and scene.knows(route, aim.stable, _reached(scene, route))": (
                "the fact that PODS_KNOWN asks"
            ),
            "revision not in found.free": "what `traffic.step` has let go behind ACKNOWLEDGED and DRAINED",
            "len(route.slots) == 1 and route.slots[route.stable].revision == choice.target": "what the status says",
            "alone and (not enters) and (not scene.present - {choice.target})": "what the status says",
            "arrived and found.acknowledged": "when to look again",
        },
        "_back": {
            "scene.observed.routers and (not scene.leads_straight)": "whether there is a traffic that goes anywhere",
            "route is not None and alone and reached and (len(route.slots) > 1 or scene.present - {alone})": (
                "how far it is: the traffic goes to one version first, behind the guards of `traffic.step`"
            ),
            "scene.returns_to or scene.serving": "which version it is that serves",
            "version.revision not in found.free": "what `traffic.step` has let go behind ACKNOWLEDGED and DRAINED",
            "found.waits or 'all requests go to one version first'": "only words",
            "route is not None and alone": "what the one Deployment is made of: what serves until the route has ended",
            "route is not None": "how far it is: the route ends before any pods go",
            "router.generation == route.generation or router.refused": "the fact that ACKNOWLEDGED asks",
            "leads and scene.guards.holds(Guard.SUCCEEDED, stands or not alone) and "
            "scene.guards.holds(Guard.ACKNOWLEDGED, runs)": (
                "and that the Service leads to pods: this look has only just written that it should"
            ),
            "ends": "the same",
        },
        "_succeeded": {
            "port is not None and there is not None and is_latest(there, seal(service(scene.identity, port)))": (
                "whether the Service leads to routers already, which SUCCEEDED and PODS_KNOWN have let it"
            ),
            "leads": "the same",
        },
    },
    "core/steps.py": {
        "advanced": {
            "scene.serving and stable != scene.serving and (stable == aim.stable) and (not enters)": (
                "what `traffic.step` has made of the route"
            ),
            "not scene.serving and (not enters) and (stable == scene.choice.target) and (scene.replicas > 0)": (
                "what the status says"
            ),
            "first_one and found.acknowledged and scene.knows(route, stable, 1)": "what the status says",
            "candidate is None or enters": "without a candidate, or before its turn, there are no steps",
            "not scene.has_steps(candidate)": "its weights are not chosen yet, so it is at none of them",
            "share.revision == candidate.revision": "looks for its share",
            "candidate is not None and scene.desired.bake and (not scene.is_left)": (
                "whether the version before stays to be compared with: it has no requests at this moment"
            ),
            "candidate.standing is Standing.SUSPECT or candidate.step >= len(scene.desired.steps) or (not follows)": (
                "whether there is a step to go on from: what gave it the weight are the guards of `traffic.step`"
            ),
            "route == scene.before.route and found.acknowledged": "the fact that ACKNOWLEDGED asks",
        },
    },
    "core/namespace.py": {
        "look_at": {
            "not known.routed": "whether there is anything to make; what is there goes behind UNWANTED",
            "in_the_way or no_port or pods_trouble(known)": "only words",
        },
        "_end": {},
        "_make": {},
        "_replace_silent": {
            "then is None or now - then >= REST": "the fact that RESTED asks",
            "silence.pods": "when to look again",
        },
    },
    "writer.py": {
        "_send": {"parameters or {}": "a request without parameters; it is sent all the same"},
        "lease": {
            "create": "how it is written, not whether: the Lease alone is taken without being held",
        },
        "_request": {
            "except BaseException": "after the request",
            "isinstance(lost.__cause__, NotLeader)": "after the request",
            "status >= 300": "after the request",
            "isinstance(error, Invalid) and 'metadata.uid' in error.message": "after the request",
        },
        "_given": {"value": "a precondition that `keep` has taken away is left out"},
    },
}
"""Module -> function -> every branch in it that is no guard, with the reason why it may stand there."""


# ---------------------------------------------------------------- reading the source


def asks_a_guard(node: ast.AST) -> bool:
    """Whether this is a call of `holds` or `keep` with a Guard that is named there and then."""
    match node:
        case ast.Call(
            func=ast.Attribute(attr="holds" | "keep"),
            args=[ast.Attribute(value=ast.Name(id="Guard"), attr=member), *_],
        ):
            return member in Guard.__members__
    return False


def is_guard(node: ast.AST, bound: set[str]) -> bool:
    """Whether a condition is made of guards alone. `bound`: names that hold the answer of one."""
    match node:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return is_guard(operand, bound)
        case ast.BoolOp(values=values):
            return all(is_guard(value, bound) for value in values)
        case ast.Name(id=name):
            return name in bound
    return asks_a_guard(node)


class Branches(ast.NodeVisitor):
    """Every branch of one function that is no guard, as source. What a guard is asked about is a fact, not a branch."""

    def __init__(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.found: list[str] = []
        self._states_a_fact = isinstance(function.returns, ast.Name) and function.returns.id == "bool"
        names = [
            (target.id, is_guard(node.value, set()))
            for node in ast.walk(function)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        ]
        # A name that once holds something else proves nothing.
        self._bound = {name for name, _ in names} - {name for name, guard in names if not guard}
        for statement in function.body:
            self.visit(statement)

    def _branch(self, test: ast.AST) -> None:
        if not is_guard(test, self._bound):
            self.found.append(ast.unparse(test))

    def visit_If(self, node: ast.If) -> None:
        self._branch(node.test)
        for child in (*node.body, *node.orelse):
            self.visit(child)

    def visit_While(self, node: ast.While) -> None:
        self._branch(node.test)
        for child in (*node.body, *node.orelse):
            self.visit(child)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._branch(node.test)
        self.visit(node.body)
        self.visit(node.orelse)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._branch(test)
        self.visit(node.iter)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self._branch(node)

    def visit_Return(self, node: ast.Return) -> None:
        if not self._states_a_fact:
            self.generic_visit(node)

    def visit_Match(self, node: ast.Match) -> None:
        self.found.append(f"match {ast.unparse(node.subject)}")
        self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self.found.append(f"except {ast.unparse(node.type) if node.type else ''}".strip())
        self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        self._branch(node.test)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in ("filter", "takewhile", "dropwhile"):
            self.found.append(ast.unparse(node))
        if not asks_a_guard(node):
            self.generic_visit(node)


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(source: str) -> dict[str, Function]:
    """Every function and method by its name; one that is inside another counts as part of that."""
    found: dict[str, Function] = {}

    def collect(body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found[node.name] = node
            elif isinstance(node, ast.ClassDef):
                collect(node.body)

    collect(ast.parse(source).body)
    return found


def unguarded(source: str) -> list[str]:
    return [branch for function in functions(source).values() for branch in Branches(function).found]


def calls(file: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a module, with the function that it stands in."""
    for name, function in functions(file.read_text()).items():
        for node in ast.walk(function):
            if isinstance(node, ast.Call):
                yield name, node


FILES = [file for file in sorted(PRODUCT.rglob("*.py")) if file.name != "guards.py"]


# ---------------------------------------------------------------- the rules


@pytest.mark.parametrize(
    ("module", "function"),
    [(module, function) for module, found in STRICT.items() for function in found],
    ids=lambda part: str(part),
)
def test_before_a_write_stand_guards_and_what_is_named_here(module: str, function: str) -> None:
    found = Branches(functions((PRODUCT / module).read_text())[function]).found
    assert sorted(set(found)) == sorted(STRICT[module][function])


def test_a_write_is_made_nowhere_else() -> None:
    """Else a function that is not looked at above could make one."""
    makes = set()
    for file in FILES:
        for function, call in calls(file):
            if isinstance(call.func, ast.Name) and call.func.id in WRITES:
                makes.add((str(file.relative_to(PRODUCT)), function))
    assert makes == {
        ("core/writes.py", "applies"),
        ("core/writes.py", "scales"),
        ("core/writes.py", "removes"),
        ("core/records.py", "keeps"),
        ("core/records.py", "forgets"),
        ("core/records.py", "orphaned"),
        ("core/look.py", "look"),
        ("core/look.py", "sent"),
        ("core/namespace.py", "_end"),
        ("core/namespace.py", "_make"),
        ("core/namespace.py", "_replace_silent"),
    }
    assert all(function in STRICT[module] for module, function in makes)


def test_a_request_that_writes_leaves_by_the_gate_of_the_lease_or_is_for_the_lease_itself() -> None:
    senders = {
        function
        for function, call in calls(PRODUCT / "writer.py")
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("_request", "request")
    }
    assert senders == {"_send", "lease", "_request"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PRODUCT)))
def test_a_guard_is_asked_by_name(file: Path) -> None:
    """A guard in a variable is one that this test cannot see."""
    for _, call in calls(file):
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("holds", "keep"):
            receiver = ast.unparse(call.func.value)
            if receiver in ("drift", "self.leader"):
                continue  # `drift.holds` compares fields; `Leader.keep` keeps the Lease
            assert asks_a_guard(call), ast.unparse(call)


def test_every_guard_is_asked_somewhere() -> None:
    asked = {
        node.args[0].attr
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if asks_a_guard(node) and isinstance(node, ast.Call) and isinstance(node.args[0], ast.Attribute)
    }
    assert asked == set(Guard.__members__)


def test_every_guard_says_what_it_is() -> None:
    assert len({guard.value for guard in Guard}) == len(Guard)


# ---------------------------------------------------------------- and that these rules can fail


def function(body: str, returns: str = "") -> str:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return f"def writes(wanted, observed, guards){returns}:\n{lines}\n"


GUARD = "guards.holds(Guard.OURS, ours)"


@pytest.mark.parametrize(
    ("body", "branch"),
    [
        pytest.param("if late:\n    yield Apply()", "late", id="an if"),
        pytest.param(
            f"if {GUARD} and late:\n    yield Apply()", f"{GUARD} and late", id="an if that hides behind a guard"
        ),
        pytest.param(f"if late or {GUARD}:\n    yield Apply()", f"late or {GUARD}", id="a way around a guard"),
        pytest.param(f"if {GUARD}:\n    yield Apply()\nelif late:\n    yield Keep()", "late", id="an elif"),
        pytest.param("for x in wanted:\n    if late:\n        continue\n    yield Apply()", "late", id="a continue"),
        pytest.param("while late:\n    yield Apply()", "late", id="a while"),
        pytest.param("return Apply() if late else None", "late", id="a ternary"),
        pytest.param("return [Apply() for x in wanted if late]", "late", id="the filter of a comprehension"),
        pytest.param("yield from filter(late, wanted)", "filter(late, wanted)", id="a filter by name"),
        pytest.param("late and send(Apply())", "late and send(Apply())", id="a boolean operator"),
        pytest.param("match late:\n    case True:\n        yield Apply()", "match late", id="a match"),
        pytest.param("try:\n    f()\nexcept KeyError:\n    yield Apply()", "except KeyError", id="an exception"),
        pytest.param("assert late\nyield Apply()", "late", id="an assertion"),
        pytest.param("ok = late\nif ok:\n    yield Apply()", "ok", id="a name that is no guard's answer"),
        pytest.param(f"ok = {GUARD}\nok = late\nif ok:\n    yield Apply()", "ok", id="a name that was one once"),
        pytest.param(
            "g = Guard.OURS\nif guards.holds(g, late):\n    yield Apply()",
            "guards.holds(g, late)",
            id="a guard in a variable",
        ),
        pytest.param(
            "if guards.holds(Guard.NONE, late):\n    yield Apply()",
            "guards.holds(Guard.NONE, late)",
            id="no guard of ours",
        ),
    ],
)
def test_a_branch_that_is_no_guard_is_found(body: str, branch: str) -> None:
    assert unguarded(function(body)) == [branch]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(f"if {GUARD}:\n    yield Apply()", id="a guard"),
        pytest.param(f"if not {GUARD}:\n    return", id="its opposite"),
        pytest.param(
            f"if {GUARD} and guards.holds(Guard.CHANGED, a or b):\n    yield Apply()", id="two, one about a choice"
        ),
        pytest.param(f"ok = {GUARD}\nif ok and {GUARD}:\n    yield Apply()", id="one that was asked before"),
        pytest.param(f"return [Apply() for x in wanted if {GUARD}]", id="a filter"),
        pytest.param("yield Apply(guards.keep(Guard.UPDATE_UID, a or b))", id="a precondition"),
    ],
)
def test_guards_alone_are_no_finding(body: str) -> None:
    assert unguarded(function(body)) == []


def test_what_a_function_states_as_a_fact_is_no_branch_but_what_it_does_before_is_one() -> None:
    assert unguarded(function("return a or b", " -> bool")) == []
    assert unguarded(function("if a:\n    return True\nreturn b", " -> bool")) == ["a"]


def test_a_branch_that_is_put_into_the_product_is_found() -> None:
    """The real source with one more condition: the proof that the rule reads what it should."""
    source = (PRODUCT / "core/writes.py").read_text()
    changed = source.replace(
        "            yield Scale(child.name", "            if replicas:\n                yield Scale(child.name"
    )
    assert changed != source
    assert Branches(functions(changed)["scales"]).found == ["replicas"]


# ---------------------------------------------------------------- the guards themselves


def test_a_guard_holds_by_its_fact_and_always_when_it_was_taken_away() -> None:
    without = Guards(frozenset({Guard.OURS}))
    assert [ALL.holds(Guard.OURS, fact) for fact in (True, False)] == [True, False]
    assert [without.holds(Guard.OURS, fact) for fact in (True, False)] == [True, True]
    assert [without.holds(Guard.CHANGED, fact) for fact in (True, False)] == [True, False]


def test_a_precondition_is_kept_until_its_guard_is_taken_away() -> None:
    assert ALL.keep(Guard.UPDATE_UID, "u") == "u"
    assert Guards(frozenset({Guard.UPDATE_UID})).keep(Guard.UPDATE_UID, "u") is None
