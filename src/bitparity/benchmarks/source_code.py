"""Source code of benchmarks: the files of a module, their imports, and a hash without comments and docstrings."""

from __future__ import annotations

import ast
import functools
import hashlib
from importlib.util import find_spec, resolve_name
from pathlib import Path

SHARED = "bitparity.benchmarks"
SUFFIXES = (".py", ".csv", ".toml")  # tables beside the code: system calls, units, patterns


def sha256_of(text: str) -> str:
    """The SHA-256 of a text, in hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def source_files(module: str) -> dict[Path, str]:
    """The source files of a module, each with the package it is in: its own one, and the table of its name.

    A package counts with all files in its folder.
    """
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):  # a name inside of a module; a script
        return {}
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return {}
    path = Path(spec.origin)
    if path.name != "__init__.py":
        own = (path.with_suffix(suffix) for suffix in SUFFIXES)
        return {file: module.rpartition(".")[0] for file in own if file.is_file()}
    inner = [file for file in path.parent.rglob("*.*") if file.suffix in SUFFIXES]
    return {file: ".".join([module, *file.parent.relative_to(path.parent).parts]) for file in inner}


def syntax(node: object, parent: object = None) -> object:
    """A syntax tree as nested lists, the same in every version of Python; without docstrings, which no grader reads.

    Versions differ in the fields that they leave empty, so only fields with a value are taken.
    """
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
        return [type(node).__name__, *([name, syntax(value, node)] for name, value in fields)]
    if isinstance(node, list):
        return [syntax(each) for each in node if not _says_nothing(each, parent)]
    return node


def _says_nothing(node: object, parent: object) -> bool:
    """True for a constant that stands as a statement, and for the empty part that Python 3.12 adds to an f-string."""
    if isinstance(parent, ast.JoinedStr):
        return isinstance(node, ast.Constant) and node.value == ""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@functools.cache
def read_source(file: Path) -> tuple[str, list[tuple[str, str]]]:
    """The hash of a file's code, and (module, name) of all that it imports, also inside its functions."""
    tree = ast.parse(file.read_bytes() if file.suffix == ".py" else f"table = {file.read_bytes()!r}")
    imports = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports += [("." * node.level + (node.module or ""), alias.name) for alias in node.names]
    return sha256_of(repr(syntax(tree))), imports


@functools.cache
def code_hash(module: str, others: tuple[str, ...]) -> str:
    """The hash of a benchmark's module, of all that it imports from `SHARED` and its own package, and of `others`."""
    own = module if module.startswith(f"{SHARED}.") else module.partition(".")[0]
    sources = {file: read_source(file)[0] for name in others for file in source_files(name)}
    known: set[str] = set()
    waiting = [module]
    while waiting:
        module = waiting.pop()
        if module in known or not f"{module}.".startswith((f"{SHARED}.", f"{own}.")):
            continue
        known.add(module)
        for file, package in source_files(module).items():
            sources[file], imports = read_source(file)
            for name, part in imports:
                imported = resolve_name(name, package)
                inner = f"{imported}.{part}"
                # a name imported from a package may be a module of it; no other module is imported to find that out
                is_module = imported in (SHARED, package) and part and source_files(inner)
                waiting.append(inner if is_module else imported)
    return sha256_of(repr(sorted((file.name, sha256) for file, sha256 in sources.items())))
