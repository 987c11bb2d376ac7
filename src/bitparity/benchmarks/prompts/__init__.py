"""Long prompts of others, word for word, each in a file; the module that uses one names its source."""

from functools import cache
from importlib import resources


@cache
def packaged_prompt(name: str) -> str:
    """The text of one of these files."""
    return (resources.files(__package__) / name).read_text(encoding="utf-8")
