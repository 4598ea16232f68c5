"""Where a module can be changed a little, and how: each change is one that a person could make by mistake.

    a number         a little more, and if it is whole a little less; a fraction by one percent
    arithmetic       + and -, * and / for each other, a power for a product; a sign or a whole function of math left out
    a comparison     with its edge on the other side, and the other way round
    a condition      and for or, any for all, its opposite, the other one of two values
    min, max         for each other
    a call, a raise  left out, where it stands alone

Left alone are annotations, decorators, what a class is declared with, words, and `strict=`: the types see to these,
or nobody could.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Pow: ast.Mult,
}
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
UNTOUCHED = {"annotation", "returns", "decorator_list", "keywords", "bases"}
"""Fields of definitions; `keywords` and `bases` are those of a class."""


@dataclass(frozen=True)
class Mutant:
    """One change of one module."""

    module: str
    where: str
    """The function or class that it is in; empty at the top of the module."""
    line: int
    before: str
    after: str
    number: int
    """Which one of those that look alike."""
    parent: ast.AST
    field: str
    place: int | None
    """In a list of nodes."""
    node: ast.AST
    """What stands there instead."""

    @property
    def name(self) -> str:
        """The same as long as the code is, wherever in the file it stands."""
        again = f" ({self.number})" if self.number > 1 else ""
        return f"{self.module}: {self.where + ': ' if self.where else ''}{self.before}  ->  {self.after}{again}"

    def apply(self) -> None:
        """Change the tree that it was found in, for good."""
        put(self.parent, self.field, self.place, self.node)


def put(parent: ast.AST, field: str, place: int | None, node: ast.AST) -> None:
    if place is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[place] = node


def mutants(module: str, tree: ast.Module) -> list[Mutant]:
    """Every change of a module, in the order of its lines."""
    found: list[Mutant] = []
    seen: dict[tuple[str, str, str], int] = {}
    for site in _sites(tree, "", tree):
        for node in _replacements(site.node, site.alone):
            statement = isinstance(site.node, ast.stmt)
            before = _words(site.node if statement else site.shown)
            put(site.parent, site.field, site.place, node)
            after = _words(node if statement else site.shown)
            put(site.parent, site.field, site.place, site.node)
            key = (site.where, before, after)
            seen[key] = seen.get(key, 0) + 1
            line = getattr(site.node, "lineno", getattr(site.shown, "lineno", 0))
            found.append(
                Mutant(module, site.where, line, before, after, seen[key], site.parent, site.field, site.place, node)
            )
    return found


@dataclass(frozen=True)
class _Site:
    parent: ast.AST
    field: str
    place: int | None
    node: ast.AST
    where: str
    shown: ast.AST
    """What is printed of the change: the smallest expression or statement around it."""
    alone: bool
    """A statement among others."""


def _sites(parent: ast.AST, where: str, shown: ast.AST) -> Iterator[_Site]:
    definition = isinstance(parent, ast.FunctionDef | ast.ClassDef | ast.arg | ast.AnnAssign)
    for field, value in ast.iter_fields(parent):
        if definition and field in UNTOUCHED:
            continue
        for place, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(node, ast.AST) or isinstance(node, ast.JoinedStr):
                continue
            if isinstance(node, ast.keyword) and node.arg == "strict":
                continue
            inner = f"{where}.{node.name}".lstrip(".") if isinstance(node, ast.FunctionDef | ast.ClassDef) else where
            yield _Site(parent, field, place, node, where, shown, isinstance(value, list))
            yield from _sites(node, inner, node if isinstance(node, ast.expr | ast.stmt) else shown)


def _replacements(node: ast.AST, alone: bool) -> Iterator[ast.AST]:
    match node:
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() as value):
            yield ast.Constant(value + 1)
            if value > 0:
                yield ast.Constant(value - 1)
        case ast.Constant(value=float() as value):
            yield ast.Constant(value * 1.01 if value else 0.01)
        case ast.operator():
            other = ARITHMETIC.get(type(node))
            if other:
                yield other()
        case ast.cmpop():
            for comparison in COMPARISONS[type(node)]:
                yield comparison()
        case ast.And():
            yield ast.Or()
        case ast.Or():
            yield ast.And()
        case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand):
            yield operand
        case ast.Name(id=name) if name in NAMES:
            yield ast.Name(NAMES[name], ast.Load())
        case ast.Call(func=ast.Attribute(value=ast.Name(id="math")), args=[argument]):
            yield argument
        case ast.Call(func=ast.Name(id="abs"), args=[argument]):
            yield argument
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.If(test=test) | ast.While(test=test) if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp):
            yield type(node)(ast.UnaryOp(ast.Not(), test), node.body, node.orelse)
        case ast.comprehension(target=target, iter=iterated, ifs=[test]):
            yield ast.comprehension(target, iterated, [], 0)
            if not isinstance(test, ast.Compare):
                yield ast.comprehension(target, iterated, [ast.UnaryOp(ast.Not(), test)], 0)
        case ast.Expr(value=ast.Call()) | ast.Raise() if alone:
            yield ast.Pass()


def _words(node: ast.AST) -> str:
    """Of a statement the line that it begins with."""
    lines = ast.unparse(node).splitlines()
    return next(line for line in lines if not line.startswith("@"))
