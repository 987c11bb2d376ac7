"""Templates of the reports, the files `*.j2` beside the code."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from bitparity.report.language import Lang
from bitparity.report.plain import finalize


def packaged_text(package: str, name: str) -> str:
    """The text of a file in a package's folder."""
    return (resources.files(package) / name).read_text(encoding="utf-8")


def template(
    package: str,
    name: str,
    known: Mapping[str, object] | None = None,
    filters: Mapping[str, Callable[[Any], str]] | None = None,
    **options: Any,
) -> Template:
    """A template in which an unknown name is an error, as HTML unless told otherwise.

    `known` are names that it knows, `options` those of Jinja's environment.
    """
    usual: dict[str, Any] = {"autoescape": True, "finalize": finalize, "trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(undefined=StrictUndefined, **(usual | options))
    environment.globals |= known or {}
    environment.filters |= filters or {}
    return environment.from_string(packaged_text(package, name))


def spoken(lang: Lang, *functions: Callable[..., object]) -> dict[str, Callable[..., object]]:
    """Functions by their names, for a template, each in a language."""
    return {function.__name__: functools.partial(function, lang=lang) for function in functions}
