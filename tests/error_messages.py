"""Messages of errors as the source code makes them: templates with a {name} for each thing that is filled in."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from types import FunctionType

import bitparity
from bitparity.errors import BitparityError

SOURCE = Path(bitparity.__file__).parent
# functions of bitparity that make an error of the texts they are given
HELPERS = {
    "broken_line",
    "refused",
    "_refused",
    "RequestFailedError",
    "NoDeviceError",
    "RefusedError",
    "ProcessFailedError",
    "read_model",
    "_error",
}
PROSE = re.compile(r"[a-z]{2,}'?,?;? (.* )?[A-Za-z]{2,}")  # two words or more, and no name, unit or key
# of these rooms errors are faults of the caller, or are caught and told in other words
INTERNAL = (
    "stats/",
    "benchmarks/inside/",
    "sandbox/_",
    "sandbox/bubblewrap.py",
    "store/rows.py",
    "benchmarks/lm_eval_math.py",
)

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
Function = ast.FunctionDef | ast.AsyncFunctionDef
Scope = Mapping[str, list[ast.expr]]


def holes(template: str) -> str:
    """The template with the names of its holes taken out, so that two can be compared."""
    return " ".join(re.sub(r"\{[^{}]+\}", "{}", template.replace("{{", "\0").replace("}}", "\1")).split())


class Module:
    """One file: its names, and the texts that its errors are made of."""

    def __init__(self, path: Path) -> None:
        self.path = str(path.relative_to(SOURCE))
        self._tree = ast.parse(path.read_text(encoding="utf-8"))
        name = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
        self._names = vars(import_module(name))

    def messages(self) -> Iterator[str]:
        """Every template of a message, and of the parts that are put into one."""
        for scope, call in self._error_calls():
            for argument in [*call.args, *(word.value for word in call.keywords)]:
                yield from self.templates(argument, scope)

    def _error_calls(self) -> Iterator[tuple[Scope, ast.Call]]:
        for function in (n for n in ast.walk(self._tree) if isinstance(n, FUNCTIONS)):
            scope = assigned(function)
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and self._makes_error(node):
                    yield scope, node

    def _makes_error(self, call: ast.Call) -> bool:
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        made = self._names.get(name)
        is_told = name == "ValueError" and not self.path.startswith(INTERNAL)
        return is_told or name in HELPERS or (isinstance(made, type) and issubclass(made, BitparityError))

    def templates(self, node: ast.expr, scope: Scope, seen: frozenset[str] = frozenset()) -> Iterator[str]:
        """The templates that an expression makes and those of its parts; nothing where it holds no prose."""
        inside: list[ast.expr] = []
        if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Add):
            pass
        elif isinstance(node, ast.JoinedStr | ast.Constant | ast.BinOp):
            made, inside = template_of(node)
            if PROSE.search(re.sub(r"\{[^{}]+\}", "0", made)) and len(made) < 1000:  # else a program
                yield numbered(" ".join(made.split()))
        elif isinstance(node, ast.Name) and node.id not in seen:
            inside = [*scope.get(node.id, [])]
            seen |= {node.id}
            if node.id not in scope:
                inside = [ast.Constant(text) for text in texts_in(self._names.get(node.id))]
        elif isinstance(node, ast.IfExp):
            inside = [node.body, node.orelse]
        elif isinstance(node, ast.BoolOp | ast.Dict):
            inside = node.values
        elif isinstance(node, ast.Tuple | ast.List):
            inside = node.elts
        elif isinstance(node, ast.Subscript):
            inside = [node.value]
        elif isinstance(node, ast.GeneratorExp | ast.ListComp):
            inside = [node.elt]
        elif isinstance(node, ast.Call):
            inside = [*node.args]
            if isinstance(node.func, ast.Attribute):
                inside.append(node.func.value)
            yield from self._returned(node, seen)
        for part in inside:
            yield from self.templates(part, scope, seen)

    def _returned(self, call: ast.Call, seen: frozenset[str]) -> Iterator[str]:
        """The templates that a function of bitparity gives back."""
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        made = self._names.get(name)
        found: list[Function] = [n for n in ast.walk(self._tree) if isinstance(n, FUNCTIONS) and n.name == name]
        if name in seen or name in HELPERS:
            return
        if not found and isinstance(made, FunctionType) and made.__module__.startswith("bitparity."):
            module = read(SOURCE.parent / Path(*made.__module__.split(".")).with_suffix(".py"))
            if module is not self:
                yield from module._returned(call, seen)
            return
        for function in found:
            if function.returns is not None and "str" in ast.unparse(function.returns):
                for node in ast.walk(function):
                    if isinstance(node, ast.Return | ast.Yield) and node.value is not None:
                        yield from self.templates(node.value, assigned(function), seen | {name})


def texts_in(constant: object) -> list[str]:
    """The texts that a constant of a module is, or holds."""
    if isinstance(constant, dict):
        constant = [*constant.values()]
    held = constant if isinstance(constant, list | tuple) else [constant]
    return [text for text in held if isinstance(text, str)]


@cache
def read(path: Path) -> Module:
    """The module of a file."""
    return Module(path)


def assigned(function: Function) -> Scope:
    """What is assigned to each name in a function."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.NamedExpr):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=False))
                for one, value in pairs:
                    if isinstance(one, ast.Name):
                        found.setdefault(one.id, []).append(value)
        elif isinstance(node, ast.For | ast.comprehension):
            for one in (n for n in ast.walk(node.target) if isinstance(n, ast.Name)):
                found.setdefault(one.id, []).append(node.iter)
    return found


def template_of(node: ast.expr) -> tuple[str, list[ast.expr]]:
    """The template of a text, and the expressions that are filled in."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        (left, first), (right, second) = template_of(node.left), template_of(node.right)
        return left + right, [*first, *second]
    if isinstance(node, ast.Constant):
        return (escaped(node.value) if isinstance(node.value, str) else ""), []
    if not isinstance(node, ast.JoinedStr):
        return f"{{{named(node)}}}", [node]
    said, inside = "", []
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            said += f"{{{named(part.value)}}}"
            inside.append(part.value)
        else:
            said += template_of(part)[0]
    return said, inside


def escaped(text: str) -> str:
    """The text with its braces doubled, but for those of a hole that `format` fills."""
    parts = re.split(r"(\{\w+\})", text)
    return "".join(part if n % 2 else part.replace("{", "{{").replace("}", "}}") for n, part in enumerate(parts))


def numbered(template: str) -> str:
    """The template with another name for each of its holes."""
    seen: Counter[str] = Counter()

    def name(hole: re.Match[str]) -> str:
        seen[hole[1]] += 1
        return f"{{{hole[1]}{seen[hole[1]] if seen[hole[1]] > 1 else ''}}}"

    return re.sub(r"(?<!\{)\{(\w+)\}", name, template)


def named(node: ast.expr) -> str:
    """A name for what is filled in."""
    found = re.findall(r"[a-z]+", ast.unparse(node).lower())
    return found[-1] if found else "value"


def in_source() -> dict[str, str]:
    """Every message of an error with the file that makes it."""
    found: dict[str, str] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        if "inside" in path.parts or (path.name.startswith("_") and path.name != "__init__.py"):
            continue
        module = read(path)
        for message in module.messages():
            found.setdefault(message, module.path)
    return found
