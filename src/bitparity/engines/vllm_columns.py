"""Columns of drawn and named tokens in vLLM's log-probabilities of a prompt, made in its own worker process.

A request carries what it asks for in `SamplingParams.extra_args` and asks for as many likeliest tokens as there are
columns; the worker puts the columns in their place, at the positions of the answer. So nothing between worker and
engine differs from vLLM's own. Whoever reads them finds the columns by the id REST, and where a worker has put none,
as another version of vLLM may not let it, the likeliest tokens.

vLLM has two model runners (read in 0.25.1, 0.32.0 and 0.33.0). The newer one has a `prompt_logprobs_worker`, whose
logits are looked at as it computes them; the older one has `_get_prompt_logprobs_dict`, beside which the answer's
logits are computed once more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from bitparity.engines.readings import Columns

if TYPE_CHECKING:
    import torch

NAME = "bitparity"  # in extra_args
AT_ONCE = 256  # positions whose logits are computed at once for columns: bounds memory at large vocabularies
_LOG = logging.getLogger(__name__)


def asked_of_worker(columns: Columns, start: int) -> dict[str, Any]:
    """`extra_args` for these columns; `start` is the prompt's position whose logits are of the answer's first token."""
    points, named = (None if each is None else each.tobytes() for each in (columns.points, columns.named))
    (positions,) = {len(each) for each in (columns.points, columns.named) if each is not None}
    return {NAME: {"start": start, "positions": positions, "top": columns.top, "points": points, "named": named}}


class Task:
    """The columns of one request: made part by part, as vLLM computes its prompt."""

    def __init__(self, asked: dict[str, Any], device: torch.device) -> None:
        from bitparity.engines.columns import ColumnMaker

        self.start, self.count = int(asked["start"]), int(asked["positions"])
        points, named = asked["points"], asked["named"]
        columns = Columns(
            int(asked["top"]),
            None if points is None else np.frombuffer(points, dtype=np.float64).reshape(self.count, -1),
            None if named is None else np.frombuffer(named, dtype=np.int32).reshape(self.count, -1),
        )
        self._width = columns.width
        self._maker = ColumnMaker(columns, device)
        self._parts: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._made = 0

    @classmethod
    def of(cls, parameters: Any, device: torch.device) -> Task | None:
        """The task in a request's sampling parameters; None where there is none."""
        asked = (getattr(parameters, "extra_args", None) or {}).get(NAME)
        return None if asked is None else cls(asked, device)

    def within(self, first: int, count: int) -> range:
        """The positions of the answer among `count` positions of the prompt from `first` on."""
        return range(max(self.start, first), min(self.start + self.count, first + count))

    def make(self, logits: torch.Tensor, first: int) -> None:
        """Make the columns of the prompt's positions from `first` on, which follow those that are made."""
        if first == self.start + self._made:
            self._parts.append(self._maker.make(logits, first - self.start))
            self._made += len(logits)

    def put(self, found: Any) -> None:
        """Put the columns into vLLM's tensors of the whole prompt; not where they are not whole, or do not fit."""
        import torch

        if self._made == self.count and found.logprobs.shape == (self.start + self.count, 1 + self._width):
            ids, logprobs = (torch.cat(each) for each in zip(*self._parts, strict=True))
            found.logprob_token_ids[self.start :, 1:].copy_(ids)
            found.logprobs[self.start :, 1:].copy_(logprobs)


class _Tasks:
    """The requests under way that ask for columns. One that fails has none: its reader sees likeliest tokens."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    def add(self, request: str, parameters: Any, device: torch.device) -> None:
        """Begin a request, anew where vLLM does so."""
        self._tasks.pop(request, None)
        with self._giving_up(request):
            if (task := Task.of(parameters, device)) is not None:
                self._tasks[request] = task

    def get(self, request: str) -> Task | None:
        """The task of a request; None where it has none."""
        return self._tasks.get(request)

    def make(self, request: str, logits: torch.Tensor, first: int) -> None:
        """Make columns from logits of the prompt's positions from `first` on."""
        with self._giving_up(request):
            self._tasks[request].make(logits, first)

    def end(self, request: str, found: Any = None) -> None:
        """End a request, with vLLM's tensors of its whole prompt where they are there."""
        with self._giving_up(request):
            if (task := self._tasks.get(request)) is not None and found is not None:
                task.put(found)
        self._tasks.pop(request, None)

    @contextmanager
    def _giving_up(self, request: str) -> Iterator[None]:
        try:
            yield
        except Exception:  # whatever it is, vLLM's own work goes on, with the answers of all others
            _LOG.exception("no columns for a reading")
            self._tasks.pop(request, None)


def install(runner: Any) -> None:
    """Have a model runner make columns, the newer or the older one; nothing is done to any other."""
    if (own := getattr(runner, "prompt_logprobs_worker", None)) is not None:
        newer(own, runner.device)
    elif (whole := getattr(runner, "_get_prompt_logprobs_dict", None)) is not None:
        runner._get_prompt_logprobs_dict = older(runner, whole)


def newer(own: Any, device: torch.device) -> None:
    """Have the newer runner's PromptLogprobsWorker make columns of the logits that it computes anyhow."""
    tasks = _Tasks()
    add, remove, compute = own.add_request, own.remove_request, own.compute_prompt_logprobs

    def added(request: str, number: int, parameters: Any, *more: Any, **named: Any) -> None:
        add(request, number, parameters, *more, **named)
        tasks.add(request, parameters, device)

    def removed(request: str, *more: Any, **named: Any) -> None:
        remove(request, *more, **named)
        tasks.end(request)

    def computed(logits_of: Callable[..., Any], states: torch.Tensor, batch: Any, *more: Any, **named: Any) -> Any:
        spans = list(_spans(tasks, batch))
        row = 0  # of the batch: they come in their order

        def seen(part: torch.Tensor, *others: Any, **otherwise: Any) -> Any:
            nonlocal row
            logits = logits_of(part, *others, **otherwise)
            first, row = row, row + len(part)
            if part.data_ptr() == states[first:].data_ptr() and logits is not None:
                for request, start, positions in spans:
                    low, high = max(start, first), min(start + len(positions), row)
                    if low < high:
                        tasks.make(request, logits[low - first : high - first], positions[low - start])
            return logits

        found = compute(seen if spans else logits_of, states, batch, *more, **named)
        for request, tensors in found.items():
            tasks.end(request, tensors)
        return found

    own.add_request, own.remove_request, own.compute_prompt_logprobs = added, removed, computed


def _spans(tasks: _Tasks, batch: Any) -> Iterator[tuple[str, int, range]]:
    """(request, row of the batch, positions of the prompt) for what a batch of the newer runner has of answers."""
    for number, request in enumerate(batch.req_ids):
        if (task := tasks.get(request)) is not None:
            first = int(batch.num_computed_prefill_tokens_np[number])
            positions = task.within(first, int(batch.num_scheduled_tokens[number]))
            if positions:
                yield request, int(batch.query_start_loc_np[number]) + positions.start - first, positions


def older(runner: Any, whole: Callable[..., Any]) -> Callable[..., Any]:
    """`whole`, the older runner's `_get_prompt_logprobs_dict`, with columns of the answers' logits, computed again."""
    tasks = _Tasks()

    def computed(states: torch.Tensor, scheduled: dict[str, int], *more: Any, **named: Any) -> Any:
        for request in [name for name in runner.num_prompt_logprobs if name in scheduled]:
            known = runner.requests[request]
            first = known.num_computed_tokens
            if first == 0 or tasks.get(request) is None:
                tasks.add(request, known.sampling_params, runner.device)
            if (task := tasks.get(request)) is not None:
                offset = int(runner.query_start_loc.np[runner.input_batch.req_id_to_index[request]])
                for at in _steps(task.within(first, scheduled[request])):
                    rows = slice(offset + at.start - first, offset + at.stop - first)
                    tasks.make(request, runner.model.compute_logits(states[rows]), at.start)
        found = whole(states, scheduled, *more, **named)
        for request, tensors in found.items():
            tasks.end(request, tensors)
        return found

    return computed


def _steps(positions: range) -> Iterator[range]:
    """Parts of the positions whose logits are computed at once."""
    for at in range(0, len(positions), AT_ONCE):
        yield positions[at : at + AT_ONCE]
