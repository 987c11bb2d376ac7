"""`lm_eval:<task>` against lm-eval's own `simple_evaluate`: prompts, settings and every metric, item by item."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import SHARED_DATA

from bitparity.benchmarks.contract import Benchmark
from bitparity.benchmarks.registry import load_benchmark
from bitparity.engines.contract import Engine
from bitparity.engines.registry import engine_of
from bitparity.exam.build import build_exam
from bitparity.exam.frozen import Exam
from bitparity.exam.rendering import Renderer
from bitparity.exam.requests import Examinee
from bitparity.grading.rules import grade_sample
from bitparity.records import Completion, Item, Message, Prompt, Request, Sample
from bitparity.schema import BenchmarkSpec
from bitparity.study.resolve import parse_study

lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is not installed")

from lm_eval.api.model import LM  # noqa: E402
from lm_eval.api.registry import get_model  # noqa: E402
from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

LM_EVAL_TASKS = Path(lm_eval.__file__).parent / "tasks"
SYSTEM = "You are careful."

needs_shared = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"no shared data at {SHARED_DATA}")


def spec(name: str, chat: bool, protocol: Mapping[str, Any] | None = None, **entry: Any) -> BenchmarkSpec:
    study = {
        "study": "parity",
        "variants": {"bf16": {"model": "some/model", "baseline": True}},
        "protocol": {"apply_chat_template": chat, **(protocol or {})},
        "benchmarks": [{"name": name, **entry}],
    }
    return parse_study(json.dumps(study), "parity", Path.cwd()).benchmarks[0]


# A model that answers by the hash of its prompt, sometimes right, sometimes running on past a stop string


def template(messages: list[Message], add_generation_prompt: bool) -> str:
    body = "".join(f"<{m['role']}>{m['content']}" for m in messages)
    return body + "<assistant>" if add_generation_prompt else body


def digest(*texts: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(texts).encode()).digest()[:6], "big")


def write(prompt: str, target: Any) -> str:
    n = digest(prompt)
    return [
        f"the answer is ({target}). Question: and the next one, the answer is (B)",
        f"so $x$ it is \\boxed{{{target}}}",
        f"We get #### {target}\nQ: Problem: another",
        f" {target}",
        "",
        f"I think 12, no: #### {n % 100}.",
    ][n % 6]


def score(context: str, continuation: str) -> tuple[float, bool]:
    n = digest(context, continuation)
    return -(n % 1000) / 37, n % 3 == 0


class HashModel(LM):
    """Cuts its text as lm-eval's `hf` model does; remembers the resolved settings of each prompt."""

    tokenizer_name = "hash"

    def __init__(self) -> None:
        super().__init__()
        self.settings: list[dict[str, Any]] = []

    def apply_chat_template(self, chat_history: list[Message], add_generation_prompt: bool = True) -> str:
        return template(chat_history, add_generation_prompt)

    def generate_until(self, requests: list[Any]) -> list[str]:
        texts = []
        for request in requests:
            context, kwargs = request.args
            settings = normalize_gen_kwargs(kwargs, 256)
            self.settings.append(settings)
            texts.append(postprocess_generated_text(write(context, target_of(request.doc)), settings["until"], None))
        return texts

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        return [score(*request.args) for request in requests]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        raise AssertionError("no test asks for it")


def target_of(doc: Mapping[str, Any]) -> Any:
    return next(doc[key] for key in ("answer", "Answer", "gold") if key in doc)


def rendered(prompt: Prompt, system: str) -> str:
    if prompt.text is not None:
        return prompt.text
    messages = list(prompt.messages or ())
    if system and messages[0]["role"] == "system":
        messages[0] = {"role": "system", "content": f"{system}\n\n{messages[0]['content']}"}
    elif system:
        messages.insert(0, {"role": "system", "content": system})
    return template(messages, messages[-1]["role"] != "assistant")


# Running both


def evaluate(folder: Path, task: str, chat: bool, limit: int | None, system: str = "") -> tuple[Any, HashModel]:
    """lm-eval's own run of a task that stands in `folder`, as its command runs it."""
    model = HashModel()
    results = lm_eval.simple_evaluate(
        model,
        tasks=[task],
        limit=limit,
        task_manager=TaskManager(include_path=folder, include_defaults=False),
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
        system_instruction=system or None,
        bootstrap_iters=0,
    )
    return results, model


def redirect(folder: Path, yaml_file: str, files: Mapping[str, Path]) -> str:
    """A copy of one of lm-eval's tasks that reads local files, by lm-eval's own means; its name."""
    original = LM_EVAL_TASKS / yaml_file
    name = next(line.split()[1].strip("\"'") for line in original.read_text().splitlines() if line.startswith("task:"))
    body = {
        "include": str(original),
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {
            "data_files": {k: str(v) for k, v in files.items()},
            "cache_dir": str(folder / "cache"),
        },
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(body))
    return name


def answer_of(item: Item, system: str) -> Completion:
    """The hash model's answer to our prompt, uncut."""
    contexts = [rendered(prompt, system) for prompt in item.prompts]
    if item.prompts[0].continuations:
        pairs = zip(contexts, item.prompts, strict=True)
        return Completion("", logprobs=tuple(score(c, t) for c, p in pairs for t in p.continuations))
    return Completion(write(contexts[0], target_of(item.metadata["doc"])))


def compare(entry: BenchmarkSpec, results: Any, model: HashModel) -> dict[str, set[float]]:
    """Assert that every item is equal; the values seen, by metric, so that a test can ask for variety."""
    benchmark, system = load_benchmark(entry), entry.protocol.system
    logged = [
        (task, doc_id, rows) for task, samples in results["samples"].items() for doc_id, rows in by_doc(samples).items()
    ]
    items = list(benchmark.items())
    assert len(items) == len(logged) > 0
    seen: dict[str, set[float]] = defaultdict(set)
    for item, (task, doc_id, rows) in zip(items, logged, strict=True):
        assert (item.metadata["task"], item.metadata["doc_id"]) == (task, doc_id)
        first = rows[0]
        ours = [(rendered(p, system), c) for p in item.prompts for c in p.continuations or (None,)]
        theirs = [(context, rest if isinstance(rest, str) else None) for context, rest in first["arguments"]]
        assert ours == theirs
        assert item.metadata["doc_hash"] == first["doc_hash"]
        assert item.metadata["target_hash"] == first["target_hash"]
        if not entry.protocol.apply_chat_template:
            assert item.metadata["prompt_hash"] == first["prompt_hash"]
        grade = benchmark.grade(item, answer_of(item, system))
        expected = {
            f"{metric},{row['filter']}": float(row[metric])
            for row in rows
            for metric in row["metrics"]
            if isinstance(row[metric], int | float) and 0 <= row[metric] <= 1
        }
        assert grade.metrics == expected
        assert grade.score == expected[benchmark.metric]
        for key, value in grade.metrics.items():
            seen[key].add(value)
    for settings in model.settings:
        ours_set = benchmark.task_settings()
        assert ours_set["stop"] == settings["until"]
        assert ours_set["max_tokens"] == settings["max_gen_toks"]
        assert ours_set["temperature"] == settings["temperature"] == 0.0
    return dict(seen)


def by_doc(samples: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    docs: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in samples:
        docs[row["doc_id"]].append(row)
    return docs


# lm-eval's own tasks on local files


@pytest.fixture
def gsm8k(tmp_path: Path) -> tuple[Path, Path]:
    lines = (SHARED_DATA / "gsm8k_test.jsonl").read_text().splitlines(keepends=True)
    test, shots = tmp_path / "test.jsonl", tmp_path / "shots.jsonl"
    test.write_text("".join(lines[:40]))
    shots.write_text("".join(lines[-30:]))
    return test, shots


@needs_shared
@pytest.mark.parametrize(("chat", "system"), [(True, ""), (True, SYSTEM), (False, "")])
def test_gsm8k(tmp_path: Path, gsm8k: tuple[Path, Path], chat: bool, system: str) -> None:
    test, shots = gsm8k
    task = redirect(tmp_path, "gsm8k/gsm8k.yaml", {"test": test, "train": shots})
    results, model = evaluate(tmp_path, task, chat, 25, system)
    entry = spec("lm_eval:gsm8k", chat, {"system": system}, data=str(test), fewshot_data=str(shots), limit=25)
    seen = compare(entry, results, model)
    assert seen == {"exact_match,strict-match": {0.0, 1.0}, "exact_match,flexible-extract": {0.0, 1.0}}


@needs_shared
@pytest.mark.parametrize(("chat", "system"), [(True, SYSTEM), (False, "")])
def test_mmlu_pro_group(tmp_path: Path, chat: bool, system: str) -> None:
    test, shots = SHARED_DATA / "mmlu_pro_test.jsonl.gz", SHARED_DATA / "mmlu_pro_validation.jsonl"
    names = [
        redirect(tmp_path, f"mmlu_pro/{path.name}", {"test": test, "validation": shots})
        for path in sorted((LM_EVAL_TASKS / "mmlu_pro").glob("mmlu_pro_*.yaml"))
    ]
    assert len(names) == 14
    (tmp_path / "group.yaml").write_text(yaml.safe_dump({"group": "mmlu_pro", "task": names}))
    results, model = evaluate(tmp_path, "mmlu_pro", chat, 5, system)
    entry = spec("lm_eval:mmlu_pro", chat, {"system": system}, data=str(test), fewshot_data=str(shots), limit=5)
    assert compare(entry, results, model) == {"exact_match,custom-extract": {0.0, 1.0}}


@needs_shared
@pytest.mark.parametrize(
    ("name", "yaml_file", "data", "split"),
    [
        ("aime24", "aime/aime24.yaml", "aime24.jsonl", "train"),
        ("hendrycks_math500", "hendrycks_math/hendrycks_math500.yaml", "math500.jsonl", "test"),
    ],
)
def test_math_tasks(tmp_path: Path, name: str, yaml_file: str, data: str, split: str) -> None:
    task = redirect(tmp_path, yaml_file, {split: SHARED_DATA / data})
    results, model = evaluate(tmp_path, task, True, 40)
    entry = spec(f"lm_eval:{name}", True, data=str(SHARED_DATA / data), limit=40)
    assert compare(entry, results, model) == {"exact_match,none": {0.0, 1.0}}


# Tasks of every shape, written for this test

ROWS = [
    {
        "question": f"What colour is thing {n}?",
        "choices": ["red", " dark blue", "green as grass"],
        "gold": n % 3,
        "hint": f"Thing {n} is",
        "answer": str(n % 5),
        "before": [f"It was {c}" for c in ("red", "blue")],
        "after": f"and thing {n} fell.",
    }
    for n in range(24)
]
SHAPES: dict[str, dict[str, Any]] = {
    "choice": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "num_fewshot": 2,
        "description": "Colours. ",
        "metric_list": [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in ("acc", "acc_norm")],
    },
    "mutual": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "metric_list": [
            {"metric": m, "aggregation": "mean", "higher_is_better": True} for m in ("acc", "acc_mutual_info")
        ],
    },
    "prefixed_choice": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "gen_prefix": "{{hint}}",
        "num_fewshot": 1,
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    },
    "inputs": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{gold % 2}}",
        "doc_to_choice": "before",
        "doc_to_target": "after",
        "num_fewshot": 2,
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    },
    "last_word": {
        "output_type": "loglikelihood",
        "doc_to_text": "{{question}}",
        "doc_to_target": " {{hint}}",
        "metric_list": [
            {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
            {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
        ],
    },
    "prefixed": {
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "gen_prefix": "So it is",
        "num_fewshot": 3,
        "generation_kwargs": {"until": ["\n", "Question:"], "max_gen_toks": 7, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "filter_list": [
            {
                "name": "digits",
                "filter": [{"function": "regex", "regex_pattern": "[0-9]+"}, {"function": "take_first"}],
            },
            {
                "name": "last",
                "filter": [
                    {"function": "regex", "regex_pattern": "[0-9]", "group_select": -1},
                    {"function": "remove_whitespace"},
                    {"function": "take_first"},
                ],
            },
        ],
    },
    "several_golds": {
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": '{{[answer, "12"]}}',
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "filter_list": [
            {"name": "digits", "filter": [{"function": "regex", "regex_pattern": "[0-9]+"}, {"function": "take_first"}]}
        ],
    },
}


def write_shape(folder: Path, name: str) -> Path:
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    body = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {"test": str(rows), "train": str(rows)},
            "cache_dir": str(folder / "cache"),
        },
        "test_split": "test",
        "training_split": "train",
        "fewshot_split": "train",
        **SHAPES[name],
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(body, sort_keys=False))
    return path


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_of_task(tmp_path: Path, name: str, chat: bool) -> None:
    path = write_shape(tmp_path, name)
    results, model = evaluate(tmp_path, name, chat, None)
    seen = compare(spec(f"lm_eval:{path}", chat), results, model)
    assert all(values == {0.0, 1.0} for values in seen.values()), seen
    names = {m["metric"] for m in SHAPES[name]["metric_list"]} - {"perplexity"}
    assert {key.partition(",")[0] for key in seen} == names


def test_the_same_items_a_second_time(tmp_path: Path) -> None:
    path = write_shape(tmp_path, "prefixed")
    benchmark = load_benchmark(spec(f"lm_eval:{path}", True))
    assert list(benchmark.items()) == list(benchmark.items())


# A real model, lm-eval's `hf` backend against our transformers engine

MODEL = os.environ.get("BITPARITY_TEST_MODEL")


def gsm8k_of_few_tokens(folder: Path) -> Path:
    lines = (SHARED_DATA / "gsm8k_test.jsonl").read_text().splitlines(keepends=True)
    (folder / "test.jsonl").write_text("".join(lines[:4]))
    (folder / "shots.jsonl").write_text("".join(lines[-20:]))
    redirect(folder, "gsm8k/gsm8k.yaml", {"test": folder / "test.jsonl", "train": folder / "shots.jsonl"})
    path = folder / "gsm8k.yaml"
    kwargs = {"until": ["Question:", "</s>", "<|im_end|>"], "do_sample": False, "max_gen_toks": 24}
    changes = {"generation_kwargs": kwargs, "num_fewshot": 2}
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))
    return path


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on busy cores take minutes where one takes seconds."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def theirs(one_thread: None) -> LM:
    """lm-eval's `hf` model, as `simple_evaluate` makes it of these arguments."""
    arguments = {"pretrained": MODEL, "dtype": "float32"}
    return get_model("hf").create_from_arg_obj(arguments, {"batch_size": 1, "max_batch_size": None, "device": "cpu"})


@pytest.fixture(scope="module")
def ours(one_thread: None) -> Iterator[Engine]:
    """The transformers engine, which answers one request a batch."""
    study = parse_study(
        json.dumps(
            {
                "study": "parity",
                "variants": {"bf16": {"model": MODEL, "baseline": True}},
                "engine": {"kind": "transformers", "dtype": "float32", "device": "cpu", "batch_size": 1},
                "benchmarks": ["smoke"],
            }
        ),
        "parity",
        Path.cwd(),
    )
    variant = study.variants["bf16"]
    engine = engine_of(variant.engine).get_ready(variant)()
    yield engine
    engine.close()


@pytest.mark.slow
@pytest.mark.skipif(not MODEL, reason="BITPARITY_TEST_MODEL names no model folder")
@pytest.mark.parametrize("name", ["gsm8k", "choice", "mutual", "prefixed"])
def test_a_real_model_scores_alike(tmp_path: Path, theirs: LM, ours: Engine, name: str) -> None:
    if name == "gsm8k" and not SHARED_DATA.is_dir():
        pytest.skip(f"no shared data at {SHARED_DATA}")
    path = gsm8k_of_few_tokens(tmp_path) if name == "gsm8k" else write_shape(tmp_path, name)
    entry = spec(f"lm_eval:{path}", True, limit=4)
    results = lm_eval.simple_evaluate(
        theirs,
        tasks=[name],
        limit=4,
        task_manager=TaskManager(include_path=tmp_path, include_defaults=False),
        apply_chat_template=True,
        bootstrap_iters=0,
    )
    benchmark, exam, samples = run_ourselves(ours, entry)
    logged = by_doc(results["samples"][name])
    assert len(exam.items) == len(logged) == 4
    for item, sample in zip(exam.items, samples, strict=True):
        rows = logged[item.item.metadata["doc_id"]]
        contexts = [
            text
            for prompt, text in zip(item.item.prompts, item.texts or (), strict=True)
            for _ in prompt.continuations or (None,)
        ]
        assert contexts == [context for context, _ in rows[0]["arguments"]]
        expected = [response[0] for response in rows[0]["resps"]]
        if sample.logprobs is None:
            assert [sample.text] == expected
        else:
            assert [greedy for _, greedy in sample.logprobs] == [greedy for _, greedy in expected]
            assert [value for value, _ in sample.logprobs] == pytest.approx([v for v, _ in expected], abs=1e-3)
        grade = grade_sample(benchmark, item.item, sample, entry.protocol)
        assert grade.metrics == {
            f"{metric},{row['filter']}": float(row[metric]) for row in rows for metric in row["metrics"]
        }


def run_ourselves(engine: Engine, entry: BenchmarkSpec) -> tuple[Benchmark, Exam, list[Sample]]:
    """One benchmark through exam and engine, in this process."""
    renderer = Renderer(Path(MODEL or ""))
    exam = build_exam(entry, renderer)

    async def collect() -> list[Sample]:
        async def feed() -> AsyncIterator[Request]:
            for request in Examinee("bf16", renderer, renderer).requests(exam, entry):
                yield request

        return [sample async for sample in engine.stream(feed())]

    return load_benchmark(entry), exam, asyncio.run(collect())
