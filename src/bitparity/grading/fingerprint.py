"""Fingerprint of the code that grades a benchmark: with other code, its stored grades are made again."""

from __future__ import annotations

import ast
import functools
import hashlib
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import NamedTuple

from bitparity.benchmarks.contract import Benchmark

SHARED = "bitparity.benchmarks"
RULES = "bitparity.grading.rules"
SANDBOX = "bitparity.sandbox"
SUFFIXES = (".py", ".csv")  # the sandbox has a table of system calls


def grader_fingerprint(benchmark: Benchmark) -> str:
    """A hash of all code that decides over a grade, without comments and docstrings.

    That is the benchmark's own module, the modules of `bitparity.benchmarks` and of its own package that it imports,
    and the rules for every benchmark; where code is run also the sandbox and the settings, which hold limits.
    Another version of Python gives another hash.
    """
    paths = {name for name, value in benchmark.settings if isinstance(value, Path)}
    settings = benchmark.settings.model_dump_json(exclude=paths) if benchmark.runs_code else ""
    return hashlib.sha256(f"{_code_hash(type(benchmark))} {settings}".encode()).hexdigest()[:16]


@functools.cache
def _code_hash(kind: type[Benchmark]) -> str:
    own = kind.__module__ if kind.__module__.startswith(f"{SHARED}.") else kind.__module__.partition(".")[0]
    sources = {file: _read(file).sha256 for name in (RULES, SANDBOX)[: 1 + kind.runs_code] for file in _files(name)}
    known: set[str] = set()
    waiting = [kind.__module__]
    while waiting:
        module = waiting.pop()
        if module in known or not f"{module}.".startswith((f"{SHARED}.", f"{own}.")):
            continue
        known.add(module)
        for file, package in _files(module).items():
            sources[file] = _read(file).sha256
            for name, part in _read(file).imports:
                imported = resolve_name(name, package)
                inner = f"{imported}.{part}"
                # a name imported from a package may be a module of it; no other module is imported to find that out
                is_module = imported in (SHARED, package) and part and _files(inner)
                waiting.append(inner if is_module else imported)
    return _sha256(repr(sorted((file.name, sha256) for file, sha256 in sources.items())))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _files(module: str) -> dict[Path, str]:
    """The source files of a module, each with the package it is in; a package counts with all files in its folder."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):  # a name inside of a module; a script
        return {}
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return {}
    path = Path(spec.origin)
    if path.name != "__init__.py":
        return {path: module.rpartition(".")[0]}
    return {
        f: ".".join([module, *f.parent.relative_to(path.parent).parts])
        for f in path.parent.rglob("*.*")
        if f.suffix in SUFFIXES
    }


class _Source(NamedTuple):
    sha256: str
    imports: list[tuple[str, str]]


class _DocstringRemover(ast.NodeTransformer):
    """Removes constants that stand as statements: docstrings, which no grader reads."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else node


@functools.cache
def _read(file: Path) -> _Source:
    """The hash of a file's code, and (module, name) of all that it imports, also inside its functions."""
    tree = ast.parse(file.read_bytes() if file.suffix == ".py" else f"table = {file.read_bytes()!r}")
    imports = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports += [("." * node.level + (node.module or ""), alias.name) for alias in node.names]
    return _Source(_sha256(ast.dump(_DocstringRemover().visit(tree))), imports)
