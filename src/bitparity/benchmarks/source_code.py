"""Source code of benchmarks: the files of a module, their imports, and a hash without comments and docstrings."""

from __future__ import annotations

import ast
import functools
import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

SUFFIXES = (".py", ".csv")  # the sandbox has a table of system calls


def sha256_of(text: str) -> str:
    """The SHA-256 of a text, in hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def source_files(module: str) -> dict[Path, str]:
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


class SourceCode(NamedTuple):
    """The hash of a file's code, and (module, name) of all that it imports."""

    sha256: str
    imports: list[tuple[str, str]]


class _DocstringRemover(ast.NodeTransformer):
    """Removes constants that stand as statements: docstrings, which no grader reads."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else node


@functools.cache
def read_source(file: Path) -> SourceCode:
    """The hash of a file's code, and (module, name) of all that it imports, also inside its functions."""
    tree = ast.parse(file.read_bytes() if file.suffix == ".py" else f"table = {file.read_bytes()!r}")
    imports = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports += [("." * node.level + (node.module or ""), alias.name) for alias in node.names]
    return SourceCode(sha256_of(ast.dump(_DocstringRemover().visit(tree))), imports)
