"""Columns of drawn and named tokens: what is told, how it is drawn, and where vLLM's two model runners put it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp

from bitparity.engines.readings import REST, Columns, columns_of, named_text, split_columns
from bitparity.records import Reading, Request, Sampling

torch = pytest.importorskip("torch")

VOCABULARY, HIDDEN, TOP, DRAWS = 50, 8, 3, 2


def asked(context: int, answer: int, reading: Reading) -> Columns:
    pair = (tuple(range(1, context + 1)), tuple(range(2, answer + 2)))
    found = columns_of(Request("b", "i", 0, Sampling(1), 0, scored=(pair,), reading=reading))
    assert found is not None
    return found


def made(columns: Columns, logits: Any, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    from bitparity.engines import token_numbers

    ids, logprobs = token_numbers.columns(columns, logits, first)
    return ids.numpy().astype(np.int32), logprobs.numpy()


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_columns_of_drawn_and_named_tokens(kind: str) -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(7, VOCABULARY, dtype=torch.float32).to(getattr(torch, kind))
    before = logits.clone()
    columns = asked(4, 7, Reading(TOP, drawn=DRAWS))
    ids, logprobs = made(columns, logits)
    assert torch.equal(logits, before)
    scores = log_softmax(logits.double().numpy(), axis=1)
    assert ids.shape == logprobs.shape == (7, columns.width)
    told = split_columns(ids, logprobs, scores[:, 0].astype(np.float32), columns)
    assert told["logprobs"] == pytest.approx(-np.sort(-scores, axis=1)[:, :TOP], abs=1e-5)
    assert told["drawn"] == pytest.approx(np.take_along_axis(scores, told["drawn_ids"], 1), abs=1e-5)
    outside = scores.copy()
    np.put_along_axis(outside, told["ids"], -np.inf, axis=1)
    assert np.isfinite(np.take_along_axis(outside, told["drawn_ids"], 1)).all()
    assert told["rest"] == pytest.approx(logsumexp(outside, axis=1), abs=1e-5)

    named = asked(4, 7, Reading(TOP, named=named_text(told)))
    ids, logprobs = made(named, logits.flip(0))
    other = split_columns(ids, logprobs, scores[:, 0].astype(np.float32), named)
    theirs = scores[::-1]
    assert other["logprobs"][:, 0] == pytest.approx(theirs.max(axis=1), abs=1e-5)
    assert other["ids"].shape == (7, 1)
    both = np.concatenate([told["ids"], told["drawn_ids"]], axis=1)
    assert other["named"] == pytest.approx(np.take_along_axis(theirs, both, 1), abs=1e-5)
    inside = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(inside, told["ids"], values=True, axis=1)
    assert other["rest"] == pytest.approx(logsumexp(np.where(inside, -np.inf, theirs), axis=1), abs=1e-5)


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    torch.manual_seed(1)
    logits = torch.randn(1, 12)
    columns = Columns(TOP, points=((np.arange(40_000) + 0.5) / 40_000)[np.newaxis])
    ids, _ = made(columns, logits)
    scores = torch.softmax(logits[0].double(), 0).numpy()
    scores[ids[0, :TOP]] = 0
    assert np.bincount(ids[0, TOP:-1], minlength=12) / 40_000 == pytest.approx(scores / scores.sum(), abs=1e-4)


def test_points_depend_on_the_answer_alone() -> None:
    one, again, other = (asked(4, length, Reading(TOP, drawn=4)).points for length in (300, 300, 301))
    assert one is not None
    assert again is not None
    assert other is not None
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other[:300])
    assert (np.floor(one * 4) == np.arange(4)).all()  # one in each quarter
    assert (one * 4 % 1).mean() == pytest.approx(0.5, abs=0.05)


def test_a_small_vocabulary_and_one_that_lacks_a_token() -> None:
    ids, logprobs = made(asked(1, 2, Reading(20, drawn=DRAWS)), torch.randn(2, 5))
    told = split_columns(ids, logprobs, logprobs[:, 0], asked(1, 2, Reading(20, drawn=DRAWS)))
    assert told["ids"].shape == (2, 5)
    assert np.isneginf(told["rest"]).all()
    named = Columns(1, named=np.array([[0, 4], [0, 9]], dtype=np.int32))
    assert np.isneginf(made(named, torch.randn(2, 5))[1][:, 1:3]).tolist() == [[False, False], [False, True]]


def test_other_tokens_than_were_asked_for_are_told_and_likeliest_ones_are_taken() -> None:
    named = Columns(1, named=np.array([[0, 4], [0, 3]], dtype=np.int32))
    ids, logprobs = made(named, torch.randn(2, 5))
    for change in ((0, 1), (1, -1)):
        wrong = ids.copy()
        wrong[change] = 2
        with pytest.raises(ValueError, match="other tokens"):
            split_columns(wrong, logprobs, logprobs[:, 0], named)
    plain = split_columns(np.arange(8, dtype=np.int32).reshape(2, 4), logprobs, logprobs[:, 0], named)
    assert sorted(plain) == ["chosen", "ids", "logprobs"]
    assert plain["ids"].tolist() == [[0], [4]]


def likeliest(logits: Any, count: int, targets: Any) -> SimpleNamespace:
    """vLLM's LogprobsTensors of some positions: the prompt's own token, then the likeliest ones."""
    scores = logits.float().log_softmax(-1)
    ids = torch.cat([targets[:, None], scores.topk(count, dim=-1).indices], dim=1)
    return SimpleNamespace(logprob_token_ids=ids, logprobs=scores.gather(1, ids), selected_token_ranks=targets * 0)


class NewerWorker:
    """What vLLM's PromptLogprobsWorker does, with a whole batch's logits in parts of four positions."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.parts: dict[str, list[SimpleNamespace]] = {}

    def add_request(self, req_id: str, req_idx: int, sampling_params: Any) -> None:
        self.counts[req_id], self.parts[req_id] = sampling_params.prompt_logprobs, []

    def remove_request(self, req_id: str) -> None:
        self.parts.pop(req_id, None)

    def compute_prompt_logprobs(
        self, logits_fn: Callable[..., Any], hidden_states: Any, input_batch: Any, all_token_ids: Any, *more: Any
    ) -> dict[str, Any]:
        states = hidden_states[: input_batch.num_tokens]
        logits = torch.cat([logits_fn(states[at : at + 4]) for at in range(0, len(states), 4)])
        done = {}
        for number, req_id in enumerate(input_batch.req_ids):
            first, count = input_batch.num_computed_prefill_tokens_np[number], input_batch.num_scheduled_tokens[number]
            prompt = all_token_ids[req_id]
            start, last = input_batch.query_start_loc_np[number], first + count >= len(prompt)
            rows = slice(start, start + count - (1 if last else 0))
            targets = torch.tensor(prompt[first + 1 : first + 1 + count])
            self.parts[req_id].append(likeliest(logits[rows], self.counts[req_id], targets))
            if last:
                names = ("logprob_token_ids", "logprobs", "selected_token_ranks")
                whole = {name: torch.cat([getattr(part, name) for part in self.parts[req_id]]) for name in names}
                done[req_id] = SimpleNamespace(**whole)
        return done


class OlderRunner:
    """What vLLM's GPUModelRunner does for the log-probabilities of prompts."""

    def __init__(self, head: Any) -> None:
        self.device = torch.device("cpu")
        self.model = SimpleNamespace(compute_logits=lambda states: states @ head)
        self.num_prompt_logprobs: dict[str, int] = {}
        self.requests: dict[str, Any] = {}
        self.query_start_loc = SimpleNamespace(np=np.zeros(9, dtype=np.int32))
        self.input_batch = SimpleNamespace(req_id_to_index={})
        self.tensors: dict[str, SimpleNamespace] = {}

    def _get_prompt_logprobs_dict(self, hidden_states: Any, num_scheduled_tokens: dict[str, int]) -> dict[str, Any]:
        done = {}
        for req_id in list(self.num_prompt_logprobs):
            if req_id not in num_scheduled_tokens:
                continue
            known, count = self.requests[req_id], self.num_prompt_logprobs[req_id]
            prompt, first = known.prompt_token_ids, known.num_computed_tokens
            shape = (len(prompt) - 1, count + 1)
            tensors = self.tensors.setdefault(
                req_id,
                SimpleNamespace(
                    logprob_token_ids=torch.empty(shape, dtype=torch.int32),
                    logprobs=torch.empty(shape),
                    selected_token_ranks=torch.empty(shape[0]),
                ),
            )
            scheduled = min(num_scheduled_tokens[req_id], len(prompt) - 1 - first)
            offset = int(self.query_start_loc.np[self.input_batch.req_id_to_index[req_id]])
            logits = self.model.compute_logits(hidden_states[offset : offset + scheduled])
            targets = torch.tensor(prompt[first + 1 : first + 1 + scheduled])
            found = likeliest(logits, count, targets)
            tensors.logprob_token_ids[first : first + scheduled] = found.logprob_token_ids.int()
            tensors.logprobs[first : first + scheduled] = found.logprobs
            if num_scheduled_tokens[req_id] > len(prompt) - 1 - first:
                done[req_id] = tensors
                del self.num_prompt_logprobs[req_id]
        return done


Prompts = dict[str, tuple[list[int], Any, Any, Columns | None]]  # tokens, states, sampling parameters, columns


@pytest.fixture
def prompts() -> Prompts:
    from bitparity.engines.vllm_worker import asked_of_worker

    torch.manual_seed(2)
    named = torch.randint(VOCABULARY, (9, TOP + DRAWS)).numpy().astype(np.int32)
    columns = {
        "draws": (4, asked(4, 6, Reading(TOP, drawn=DRAWS))),
        "names": (3, Columns(TOP, named=named)),
        "plain": (2, None),
    }
    found: Prompts = {}
    for name, (context, wanted) in columns.items():
        length = context + (5 if wanted is None else len(wanted.named if wanted.named is not None else wanted.points))
        more = None if wanted is None else asked_of_worker(wanted, context - 1)
        count = 2 if wanted is None else wanted.width
        parameters = SimpleNamespace(prompt_logprobs=count, extra_args=more)
        tokens = torch.randint(VOCABULARY, (length,)).tolist()
        found[name] = tokens, torch.randn(length, HIDDEN), parameters, wanted
    return found


def batches(prompts: Prompts, order: str, step: int) -> Iterator[dict[str, range]]:
    """Parts of the prompts that are computed together: at most `step` positions of each, not all from the first on."""
    at = dict.fromkeys(order.split(), 0)
    begun = 1
    while any(first < len(prompts[name][0]) for name, first in at.items()):
        active = [name for name in list(at)[:begun] if at[name] < len(prompts[name][0])]
        yield {name: range(at[name], min(at[name] + step, len(prompts[name][0]))) for name in active}
        at |= {name: at[name] + step for name in active}
        begun += 1


def run_newer(prompts: Prompts, head: Any, order: str, step: int) -> dict[str, Any]:
    from bitparity.engines.vllm_worker import install

    worker = NewerWorker()
    install(SimpleNamespace(prompt_logprobs_worker=worker, device=torch.device("cpu")))
    done: dict[str, Any] = {}
    for parts in batches(prompts, order, step):
        for number, name in enumerate(name for name, part in parts.items() if part.start == 0):
            worker.add_request(name, number, prompts[name][2])
        counts = np.array([len(part) for part in parts.values()])
        batch = SimpleNamespace(
            req_ids=list(parts),
            num_tokens=int(counts.sum()),
            num_scheduled_tokens=counts,
            query_start_loc_np=np.concatenate([[0], counts.cumsum()]),
            num_computed_prefill_tokens_np=np.array([part.start for part in parts.values()]),
        )
        states = torch.cat(
            [*(prompts[name][1][part.start : part.stop] for name, part in parts.items()), torch.zeros(3, HIDDEN)]
        )
        tokens = {name: prompts[name][0] for name in parts}
        found = worker.compute_prompt_logprobs(lambda states: states @ head, states, batch, tokens)
        for name in found:
            worker.remove_request(name)
        done |= found
    return done


def run_older(prompts: Prompts, head: Any, order: str, step: int) -> dict[str, Any]:
    from bitparity.engines.vllm_worker import install

    runner = OlderRunner(head)
    install(runner)
    done: dict[str, Any] = {}
    for parts in batches(prompts, order, step):
        offset = 0
        for number, (name, part) in enumerate(parts.items()):
            tokens, _, parameters, _ = prompts[name]
            if part.start == 0:
                runner.num_prompt_logprobs[name] = parameters.prompt_logprobs
            runner.requests[name] = SimpleNamespace(
                prompt_token_ids=tokens, num_computed_tokens=part.start, sampling_params=parameters
            )
            runner.input_batch.req_id_to_index[name], runner.query_start_loc.np[number] = number, offset
            offset += len(part)
        states = torch.cat([prompts[name][1][part.start : part.stop] for name, part in parts.items()])
        done |= runner._get_prompt_logprobs_dict(states, {name: len(part) for name, part in parts.items()})
    return done


@pytest.mark.parametrize("run", [run_newer, run_older])
@pytest.mark.parametrize(
    ("order", "step"), [("draws plain names", 5), ("names draws plain", 3), ("plain names draws", 99)]
)
def test_model_runners_put_the_columns_at_the_answers_positions(
    run: Callable[..., dict[str, Any]], order: str, step: int, prompts: Prompts
) -> None:
    head = torch.randn(HIDDEN, VOCABULARY)
    found = run(prompts, head, order, step)
    assert sorted(found) == sorted(prompts)
    for name, (tokens, states, parameters, columns) in prompts.items():
        expected = likeliest(states[:-1] @ head, parameters.prompt_logprobs, torch.tensor(tokens[1:]))
        if columns is not None:
            start = parameters.extra_args["bitparity"]["start"]
            ids, logprobs = made(columns, states[start:-1] @ head)
            expected.logprob_token_ids[start:, 1:] = torch.tensor(ids)
            expected.logprobs[start:, 1:] = torch.tensor(logprobs)
            assert (expected.logprob_token_ids[start:, -1] == REST).all()
        assert torch.equal(found[name].logprob_token_ids.long(), expected.logprob_token_ids)
        assert found[name].logprobs.numpy() == pytest.approx(expected.logprobs.numpy(), abs=1e-5)


@pytest.mark.parametrize("run", [run_newer, run_older])
@pytest.mark.parametrize("broken", ["start", "named", "positions"])
def test_where_columns_cannot_be_made_the_likeliest_tokens_stand(
    run: Callable[..., dict[str, Any]], broken: str, prompts: Prompts
) -> None:
    head = torch.randn(HIDDEN, VOCABULARY)
    prompts["names"][2].extra_args["bitparity"][broken] = {"start": 1, "named": b"odd", "positions": 4}[broken]
    found = run(prompts, head, "names draws", 4)
    tokens, states, parameters, _ = prompts["names"]
    plain = likeliest(states[:-1] @ head, parameters.prompt_logprobs, torch.tensor(tokens[1:]))
    assert torch.equal(found["names"].logprob_token_ids.long(), plain.logprob_token_ids)
    assert (found["draws"].logprob_token_ids[3:, -1] == REST).all()


def test_a_runner_of_another_kind_is_left_alone() -> None:
    from bitparity.engines.vllm_worker import install

    runner = SimpleNamespace(prompt_logprobs_worker=None)
    install(runner)
    assert vars(runner) == {"prompt_logprobs_worker": None}
