"""Checks and counts that every computing engine needs."""

from __future__ import annotations

from contextlib import suppress
from importlib import metadata

from bitparity.errors import ModelError
from bitparity.models.config import one_line
from bitparity.records import Request, Sample, request_key

_SECRET = ("KEY", "TOKEN", "SECRET", "PASS", "URL", "AUTH", "CRED", "PROXY")  # parts of variables' names


def problem(request: Request, max_length: int | None, vocabulary: int, after_scored: int) -> str | None:
    """The reason why a request cannot be computed, None where it can; nothing is ever cut to fit.

    `max_length` is in tokens, None where the model names no limit. `after_scored` is how many tokens an
    engine needs beyond context and continuation. Raises ModelError for ids the model does not know.
    """
    rows = [request.token_ids or ()] if request.scored is None else [a + b for a, b in request.scored]
    if not rows or not all(rows):
        return "the prompt has no tokens"
    if (largest := max(map(max, rows))) >= vocabulary:
        raise ModelError(
            f"a prompt has token {largest}, but the model knows {vocabulary}: the tokenizer is another model's"
        )
    longest = max(map(len, rows))
    if request.scored is None:
        needed = longest + request.sampling.max_tokens
        what = f"{longest} prompt tokens and max_tokens {request.sampling.max_tokens}"
    else:
        needed = longest + after_scored
        what = f"{longest} tokens of context and continuation"
    if max_length is not None and needed > max_length:
        return f"{what} do not fit into the model's {max_length} tokens"
    return None


def failed(request: Request, why: str) -> Sample:
    """The sample of a request that could not be computed."""
    return Sample(*request_key(request), "", "error", 0, prompt_tokens(request), 0.0, error=why)


def prompt_tokens(request: Request) -> int:
    """Tokens of the prompt; of the longest context with its continuation where something is scored."""
    if request.scored is None:
        return len(request.token_ids or ())
    return max((len(context) + len(continuation) for context, continuation in request.scored), default=0)


def versions(*packages: str) -> dict[str, str | None]:
    """The installed versions; None where a package is absent."""
    found: dict[str, str | None] = dict.fromkeys(packages)
    for package in packages:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def may_be_secret(name: str) -> bool:
    """True for a variable whose value is neither written down nor shown."""
    return any(part in name.upper() for part in _SECRET)


def kind_and_message(error: BaseException) -> str:
    """An error's kind and message in one line of at most about 500 characters."""
    return f"{type(error).__name__}: {one_line(error, 500)}"
