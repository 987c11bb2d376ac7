"""SciCode's tests in two halves: what is computed beside the model's code, and what is compared outside.

A test computes values and asserts something about them and `target`. The first half is the test without `target`:
each assert becomes a call `__emit__(number, values...)`. The second half holds the asserted expressions with the values
in their place, and every statement that uses `target`. So the targets never stand beside the model's code, and the
comparison cannot be tampered with.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Collection
from typing import NamedTuple

from bitparity.errors import DataError

COMPARISONS = frozenset({"np.allclose", "np.isclose", "cmp_tuple_or_list", "are_dicts_close"})


class Halves(NamedTuple):
    """A test apart. `checks` are expressions over `__v`, the list of emitted values; `target` tells if it has one."""

    inside: str
    outside: str
    checks: list[str]
    target: bool


def split_test(test: str, dependencies: str) -> Halves:
    """Part a test. Raises DataError where it uses `target` in a way that cannot be parted."""
    try:
        tree = ast.parse(test)
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        known = _imported(ast.parse(dependencies)) | _imported(tree) | defined
    except SyntaxError as error:
        raise DataError(f"a SciCode test is not Python (line {error.lineno})") from None
    splitter = _Splitter(known)
    inside, outside = list[ast.stmt](), list[ast.stmt]()
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef):
            # the other half is changed in place
            outside.append(copy.deepcopy(statement))
            inside.append(splitter.visit(statement))
        elif splitter.is_tainted(statement) and not isinstance(statement, ast.Assert):
            splitter.taint(statement)
            outside.append(statement)
        else:
            inside.append(splitter.visit(statement))
    return Halves(_text(inside), _text(outside), splitter.checks, "target" in splitter.used)


def _text(statements: list[ast.stmt]) -> str:
    return ast.unparse(ast.fix_missing_locations(ast.Module(statements, [])))


def _imported(tree: ast.Module) -> set[str]:
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    return {(alias.asname or alias.name).partition(".")[0] for node in nodes for alias in node.names}


def _names(node: ast.AST, context: type[ast.expr_context]) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, context)}


class _Splitter(ast.NodeTransformer):
    """Turns asserts into emissions and keeps what is to be checked."""

    def __init__(self, known: Collection[str]) -> None:
        self.known = known
        self.tainted = {"target"}
        self.used: set[str] = set()
        self.checks: list[str] = []

    def is_tainted(self, node: ast.AST) -> bool:
        found = _names(node, ast.Load) & self.tainted
        self.used |= found
        return bool(found)

    def taint(self, statement: ast.stmt) -> None:
        """The names that a statement gives a value made of the target."""
        if not isinstance(statement, ast.Assign) or not _names(statement, ast.Load) <= self.tainted | set(self.known):
            raise DataError(f"a SciCode test uses its target in an unknown way: {ast.unparse(statement)[:80]}")
        self.tainted |= _names(statement, ast.Store)

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        values: list[ast.expr] = []
        check = self.outer(node.test, values)
        call = ast.Call(ast.Name("__emit__", ast.Load()), [ast.Constant(len(self.checks)), *values], [])
        self.checks.append(ast.unparse(ast.fix_missing_locations(check)))
        return ast.copy_location(ast.Expr(call), node)

    def outer(self, node: ast.expr, values: list[ast.expr]) -> ast.expr:
        """The expression as it is evaluated outside; what it takes from the inside goes to `values`."""
        if isinstance(node, ast.Constant):
            return node
        if not self.is_tainted(node) and not self.is_comparison(node):
            values.append(node)
            place = ast.Subscript(ast.Name("__v", ast.Load()), ast.Constant(len(values) - 1), ast.Load())
            return ast.copy_location(place, node)
        if isinstance(node, ast.Call):
            return self.outer_call(node, values)
        made = copy.copy(node)
        for name, value in ast.iter_fields(node):
            if isinstance(value, ast.expr):
                setattr(made, name, self.outer(value, values))
            elif isinstance(value, list):
                setattr(made, name, [self.outer(v, values) if isinstance(v, ast.expr) else v for v in value])
        return made

    def outer_call(self, node: ast.Call, values: list[ast.expr]) -> ast.expr:
        root: ast.expr = node.func
        while isinstance(root, ast.Attribute):
            root = root.value
        if not isinstance(root, ast.Name) or root.id not in {*self.tainted, *self.known}:
            raise DataError(f"a SciCode test hands its target to {ast.unparse(node.func)[:80]}")
        keywords = [ast.keyword(k.arg, self.outer(k.value, values)) for k in node.keywords]
        return ast.Call(node.func, [self.outer(argument, values) for argument in node.args], keywords)

    @staticmethod
    def is_comparison(node: ast.expr) -> bool:
        """Expressions that are compared outside even where no target is in them."""
        if isinstance(node, ast.Call):
            return ast.unparse(node.func) in COMPARISONS
        negated = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
        return negated or isinstance(node, ast.BoolOp | ast.Compare)
