"""Passes over the layers: forward with both models, backward through the candidate, forward with parts given back.

The gradient of the KL tells of every module at once how much of the distance goes through its error. With the output
error e of a module (the candidate's output less the one with the baseline's numbers on the same input) and the
gradient g of the KL by that output, half of the sum of g * e is the module's share of the KL. Near zero the KL is a
quadratic form of all errors together, and there these shares add up to it (the Aumann-Shapley value: R. Aumann and
L. Shapley, Values of Non-Atomic Games, 1974). The fall of the KL when a module is really given back is measured by the
third pass, for the modules that the shares point at.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from bitparity.distance.texts import Answer
from bitparity.localization.layers import Call, Located, ModelPair, Part, Watch
from bitparity.localization.state import State, Tensors
from bitparity.progress.events import Advance

Floats = NDArray[np.float64]
Hidden = list[torch.Tensor]  # of each batch, (rows, length, width), on the CPU
BATCH_TOKENS = 2048  # tokens that go through a layer at once: the backward pass holds all that it computes of them
LOGIT_BYTES = 1 << 27  # of one array of logits: bounds memory at large vocabularies
SAMPLE = 16  # answers on which what costs a whole pass or is asked of every layer is measured
SAVE_SECONDS = 20.0  # between two writings of the third pass's state, which may be gigabytes
_KEPT = ("error", "size", "through")


@dataclass(frozen=True, slots=True)
class _Batch:
    """Answers of similar lengths after their prompts, padded on the right: causal attention never sees that.

    `rows` are their numbers. `real`, (rows, length), marks tokens, `counted`, on the CPU, the positions that predict
    an answer's token; `calls` is what each decoder layer is called with beside its input.
    """

    rows: torch.Tensor
    ids: torch.Tensor
    real: torch.Tensor
    counted: torch.Tensor
    calls: list[Call]


@dataclass(frozen=True, slots=True)
class Arm:
    """Parts that are given back: whole layers by number (their count: what is outside of them), and modules by name."""

    layers: frozenset[int] = frozenset()
    modules: frozenset[str] = frozenset()
    fp8: frozenset[str] = frozenset()
    """Modules of layers, by name, that are in FP8 in the place of the candidate's format."""
    first: int = 0
    """The layer before which nothing is given back."""
    sampled: bool = False
    """Only on the first SAMPLE answers."""

    def back(self, number: int) -> frozenset[str] | None:
        """The modules of a layer that are given back; None: all of it."""
        return None if number in self.layers else self.modules


@dataclass(slots=True)
class Measured:
    """Figures by answer, of shape (answers,): of the candidate, and of its changed modules by name.

    `tokens` counts the answer's tokens, `divergence` is the sum of their KL in nats; `error` the square of the module's
    output error on the baseline's input and `size` the square of the baseline's output, both summed over all tokens;
    `through` the part of the KL that goes through the module's error, by the gradient. `folded` are the layers whose
    other parameters differ too.
    """

    tokens: Floats
    divergence: Floats = field(default_factory=lambda: np.zeros(0))
    error: dict[str, Floats] = field(default_factory=dict)
    size: dict[str, Floats] = field(default_factory=dict)
    through: dict[str, Floats] = field(default_factory=dict)
    folded: set[int] = field(default_factory=set)

    def add(self, kind: str, module: str, rows: torch.Tensor, values: torch.Tensor) -> None:
        """Add to the figures of some answers."""
        _add(getattr(self, kind).setdefault(module, np.zeros(len(self.tokens))), rows, values)

    def tensors(self) -> Tensors:
        """All figures as a state keeps them."""
        found = {f"{kind}/{name}": torch.from_numpy(v) for kind in _KEPT for name, v in getattr(self, kind).items()}
        folded = torch.tensor(sorted(self.folded), dtype=torch.int64)
        return found | {"divergence": torch.from_numpy(self.divergence), "folded": folded}

    def take(self, tensors: Tensors) -> None:
        """All figures from a state."""
        for key, values in tensors.items():
            kind, _, name = key.partition("/")
            if kind in _KEPT:
                getattr(self, kind)[name] = values.numpy().copy()
        self.divergence = tensors["divergence"].numpy().copy()
        self.folded = set(tensors["folded"].tolist())


class Passes:
    """The passes of one pair over some answers. Each layer that is done is stored, and not computed again."""

    def __init__(self, pair: ModelPair, answers: Sequence[Answer], state: State) -> None:
        self._pair, self._state = pair, state
        self._count = len(pair.layers)
        self.measured = Measured(np.array([len(answer.ids) for answer in answers], dtype=np.float64))
        first, others = range(min(SAMPLE, len(answers))), range(min(SAMPLE, len(answers)), len(answers))
        sampled, rest = ([_batch(pair, answers, rows) for rows in _together(answers, part)] for part in (first, others))
        self._batches, self._sampled = sampled + rest, len(sampled)

    @property
    def sampled(self) -> int:
        """Answers on which sampled arms are measured."""
        return sum(len(batch.rows) for batch in self._batches[: self._sampled])

    # forward

    def forward(self, advance: Advance) -> None:
        """Both models' hidden states, the KL, and the error of each changed module on the baseline's input."""
        hidden, first = self._begin(advance)
        for number in range(first, self._count):
            own = self._stored(number)
            with self._pair.layer(number) as part:
                if part.folded:
                    self.measured.folded.add(number)
                whole = Arm(frozenset({number}))
                for at, batch in enumerate(self._batches):
                    hidden[at] = self._run(part, number, at, hidden[at], whole, self._errors(batch.rows, batch.real))
                    own[at] = self._run(part, number, at, own[at], Arm())
            self._state.put(f"hidden-{number + 1}", _named(own))
            self._state.put("baseline", _named(hidden) | self.measured.tensors(), number + 1)
            advance(1)
        if (done := self._state.get("gradient")) is None:
            self._head(hidden)
        else:
            self.measured.take(done[0])

    def _begin(self, advance: Advance) -> tuple[Hidden, int]:
        stored = self._state.get("baseline")
        if stored is not None and self._state.get(f"hidden-{stored[1]}") is not None:
            self.measured.take(stored[0])
            advance(stored[1])
            return self._hidden(stored[0]), stored[1]
        base, own = ([self._pair.embed(b.ids, base=base)[0].cpu() for b in self._batches] for base in (True, False))
        self._state.put("hidden-0", _named(own))
        return base, 0

    def _errors(self, rows: torch.Tensor, real: torch.Tensor) -> Watch:
        def watch(located: Located, given: torch.Tensor, found: torch.Tensor) -> None:
            if located.changed:
                for kind, values in (("error", located.quantized(given) - found), ("size", found)):
                    self.measured.add(kind, located.name, rows, (values.square().sum(-1) * real).sum(1))

        return watch

    def _head(self, base: Hidden) -> None:
        """Compute the KL, and its gradient by the last layer's output, with the part outside of the layers."""
        if self._pair.outside.folded:
            self.measured.folded.add(self._count)
        own = self._stored(self._count)
        gradients = [torch.zeros_like(values) for values in own]
        divergence = np.zeros(len(self.measured.tokens))
        for at, values in enumerate(own):
            for part in self._parts(at):
                ours = self._scores(part, part.of(base[at]), None, self._errors(part.rows, torch.ones_like(part.ids)))
                given = part.of(values).requires_grad_()
                theirs = self._scores(part, given, frozenset(), self._through(part.rows, self._count))
                each = _divergence(ours, theirs)
                _add(divergence, part.rows, each.detach())
                gradients[at][part.at] = torch.autograd.grad(each.sum(), given)[0][:, 0].cpu()
        self.measured.divergence = np.maximum(divergence, 0.0)
        self._state.put("gradient", _named(gradients) | self.measured.tensors())

    # backward

    def backward(self, advance: Advance) -> None:
        """The part of the KL that goes through each module's error, from the last layer to the first."""
        stored, first = self._state.take("gradient")
        gradient = self._hidden(stored)
        self.measured.take(stored)
        advance(first)
        for number in range(self._count - 1 - first, -1, -1):
            own = self._stored(number)
            with self._pair.layer(number) as part:
                for at, values in enumerate(own):
                    gradient[at] = self._gradient(part, number, at, values, gradient[at])
            self._state.put("gradient", _named(gradient) | self.measured.tensors(), self._count - number)
            advance(1)

    def _gradient(self, part: Part, number: int, at: int, values: torch.Tensor, above: torch.Tensor) -> torch.Tensor:
        given = values.to(self._pair.device).requires_grad_()
        args, named = self._batches[at].calls[number]
        found = part.run(given, *args, watch=self._through(self._batches[at].rows, number), **named)
        (gradient,) = torch.autograd.grad(found, given, above.to(self._pair.device))
        return gradient.cpu()

    def _through(self, rows: torch.Tensor, number: int) -> Watch:
        def watch(located: Located, given: torch.Tensor, found: torch.Tensor) -> None:
            if not located.changed or number in self.measured.folded:
                return
            with torch.no_grad():
                e = found - located.plain(given)
            found.register_hook(lambda g: self.measured.add("through", located.name, rows, (g * e).sum(dim=(1, 2)) / 2))

        return watch

    # with parts given back

    def given_back(self, arms: Mapping[str, Arm], advance: Advance) -> dict[str, Floats]:
        """The sum of the KL over each answer's tokens with each arm's parts given back, all in one pass.

        NaN at the answers that a sampled arm left out.
        """
        what = [
            (key, sorted(arm.layers), sorted(arm.modules), sorted(arm.fp8), arm.sampled) for key, arm in arms.items()
        ]
        name = f"arms-{zlib.crc32(repr(what).encode()):08x}"
        tensors, start = self._state.get(name) or ({}, 0)
        hidden = {key: self._hidden(tensors, f"{key}/") for key in arms if f"{key}/0" in tensors}
        advance(start)
        saved = time.monotonic()
        for number in range(start, self._count + 1):
            hidden |= {key: self._stored(number, arm) for key, arm in arms.items() if arm.first == number}
            if number == self._count:
                break
            with self._pair.layer(number) as part:
                for key, each in hidden.items():
                    hidden[key] = [self._run(part, number, at, v, arms[key]) for at, v in enumerate(each)]
            if time.monotonic() - saved > SAVE_SECONDS:
                kept = {f"{key}/{at}": v for key, each in hidden.items() for at, v in enumerate(each)}
                self._state.put(name, kept, number + 1)
                saved = time.monotonic()
            advance(1)
        return self._divergences(arms, hidden)

    def _divergences(self, arms: Mapping[str, Arm], ends: Mapping[str, Hidden]) -> dict[str, Floats]:
        """The sums of the KL over each answer's tokens, from the last layer's outputs."""
        found = {key: np.full(len(self.measured.tokens), np.nan) for key in ends}
        base = self._hidden(self._state.take("baseline")[0])
        for at, batch in enumerate(self._batches):
            there = {key: end[at] for key, end in ends.items() if at < len(end)}
            for key in there:
                found[key][batch.rows.numpy()] = 0.0
            for part in self._parts(at):
                ours = self._scores(part, part.of(base[at]), None)
                for key, end in there.items():
                    theirs = self._scores(part, part.of(end), arms[key].back(self._count))
                    _add(found[key], part.rows, _divergence(ours, theirs))
        return {key: np.maximum(each, 0.0) for key, each in found.items()}

    # parts of all

    def _run(
        self, part: Part, number: int, at: int, values: torch.Tensor, arm: Arm, watch: Watch | None = None
    ) -> torch.Tensor:
        args, named = self._batches[at].calls[number]
        values = values.to(self._pair.device)
        found: torch.Tensor = part.run(values, *args, back=arm.back(number), fp8=arm.fp8, watch=watch, **named)
        return found.cpu()

    def _scores(
        self, part: _Tokens, end: torch.Tensor, back: frozenset[str] | None, watch: Watch | None = None
    ) -> torch.Tensor:
        return self._pair.logits(part.ids, end, back=back, watch=watch).log_softmax(-1)

    def _parts(self, at: int) -> Iterator[_Tokens]:
        batch = self._batches[at]
        step = max(1, LOGIT_BYTES // (4 * self._pair.vocabulary))
        for part in batch.counted.nonzero().split(step):
            row, column = part.unbind(1)
            on_device = part.to(batch.ids.device).unbind(1)
            yield _Tokens((row, column), batch.rows[row], batch.ids[on_device][:, None])

    def _stored(self, number: int, arm: Arm | None = None) -> Hidden:
        """The candidate's hidden states before a layer, of the answers that an arm is measured on."""
        found = self._hidden(self._state.take(f"hidden-{number}")[0])
        return found[: self._sampled if arm is not None and arm.sampled else None]

    def _hidden(self, tensors: Tensors, prefix: str = "") -> Hidden:
        return [tensors[key] for at in range(len(self._batches)) if (key := f"{prefix}{at}") in tensors]


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Some tokens of a batch that count, few enough for their logits.

    `at` are their rows and positions in the batch, `rows` the numbers of their answers; `ids`, (tokens, 1), lets each
    pass what follows the layers as a text of its own.
    """

    at: tuple[torch.Tensor, torch.Tensor]
    rows: torch.Tensor
    ids: torch.Tensor

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """These tokens of a batch's hidden states, (tokens, 1, width), on the device."""
        return values[self.at][:, None].to(self.ids.device)


def _divergence(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """The KL of each token, from log-probabilities, (tokens, 1, vocabulary)."""
    return torch.einsum("tpv,tpv->t", ours.exp(), ours - theirs)


def _add(whole: Floats, rows: torch.Tensor, values: torch.Tensor) -> None:
    """Add values to those of some answers."""
    np.add.at(whole, rows.numpy(), values.double().cpu().numpy())


def _named(hidden: Hidden) -> Tensors:
    return {str(at): values for at, values in enumerate(hidden)}


def _together(answers: Sequence[Answer], numbers: Iterable[int]) -> Iterator[list[int]]:
    """The numbers of some answers in batches of similar lengths."""
    part: list[int] = []
    lengths = {number: len(answers[number].context) + len(answers[number].ids) for number in numbers}
    for number, length in sorted(lengths.items(), key=lambda each: each[1]):
        if part and (len(part) + 1) * length > BATCH_TOKENS:
            yield part
            part = []
        part.append(number)
    if part:
        yield part


def _batch(pair: ModelPair, answers: Sequence[Answer], rows: list[int]) -> _Batch:
    """Some answers; the last token of each is only predicted, so it is no input."""
    inputs = [torch.tensor((answers[n].context + answers[n].ids)[:-1]) for n in rows]
    ids = torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True).to(pair.device)
    ends = torch.tensor([len(each) for each in inputs])[:, None]
    starts = torch.tensor([len(answers[n].context) - 1 for n in rows])[:, None]
    position = torch.arange(ids.shape[1])[None]
    counted = (position >= starts) & (position < ends)
    return _Batch(torch.tensor(rows), ids, (position < ends).to(pair.device), counted, pair.embed(ids, base=True)[1])
