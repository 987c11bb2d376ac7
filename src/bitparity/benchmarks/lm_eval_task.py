"""Any task, group or tag of lm-eval 0.4.13 as a benchmark, through lm-eval's public API.

`lm_eval:gsm8k` asks and scores as `lm-eval run --model hf --tasks gsm8k --apply_chat_template` does: the prompts, stop
strings and token budget are lm-eval's, each answer goes through the task's own filters and metrics, and `limit` takes
the first items of each leaf task. Metrics are named as in lm-eval's results, "exact_match,flexible-extract".

Where it stands apart from lm-eval, on purpose: a reasoning that never ended has no answer (lm-eval scores its text),
no prompt is ever cut, and a group's score is the mean over its items whatever the group's own weighting.
Refused: rolling log-likelihoods, images and sound, code that the model wrote, several answers scored together
(`repeats`), and a primary metric that is not a mean of values in [0, 1] a item.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import itertools
import json
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from bitparity.benchmarks import lm_eval_data as source
from bitparity.benchmarks import lm_eval_prompts as asked
from bitparity.benchmarks.contract import Benchmark, Facts, Info
from bitparity.benchmarks.dataset import file_sha256
from bitparity.errors import DataError, StudyError
from bitparity.records import Completion, Grade, Item
from bitparity.schema import LM_EVAL_PREFIX, BenchmarkSpec

INVALID = "[invalid]"  # what lm-eval's regex filters give where nothing matches


class LmEvalTask(Benchmark):
    """A task, group or tag of lm-eval, loaded when something of it is first asked.

    Item ids are lm-eval's doc ids, behind the leaf task's name for a group or tag; metadata has lm-eval's `doc_hash`,
    `target_hash` and, without a chat template, `prompt_hash`, to pair results with lm-eval's own sample logs.
    """

    info: ClassVar[Info] = Info(
        title="any task of lm-eval 0.4.13 with its own prompts and metrics",
        items=0,
        forms=("lm-eval",),
        metric="the task's own",
        source=None,
        chance=None,
    )
    fixed_order = True

    def __init__(self, spec: BenchmarkSpec) -> None:
        super().__init__(spec)
        source.require()
        self._name = spec.name.removeprefix(LM_EVAL_PREFIX)
        self._random = source.Random()
        self._built = False

    @functools.cached_property
    def _tasks(self) -> source.Tasks:
        cache = tempfile.mkdtemp(prefix="bitparity-lm-eval-")
        weakref.finalize(self, shutil.rmtree, cache, ignore_errors=True)
        with source.quiet(), self._random.resumed():
            tasks = source.load_tasks(self._name, self.spec.data, self.spec.fewshot_data, Path(cache))
        for name, task in tasks.items():
            _check_metric(name, task, self.spec.metric or _first_metric(task))
        if self.spec.metric is None:
            asked.agreed(self._name, "primary metric", {name: _first_metric(task) for name, task in tasks.items()})
        return tasks

    @property
    def metric(self) -> str:
        """The primary metric in lm-eval's naming: the study's, or the task's first one with its first filter."""
        return self.spec.metric or _first_metric(next(iter(self._tasks.values())))

    def task_settings(self) -> Facts:
        """The task's stop strings, token budget and sampling, as lm-eval's model classes resolve them.

        A task without a budget gets the 256 tokens that lm-eval's model classes fall back to
        (`DEFAULT_MAX_GEN_TOKS`). Empty for log-likelihood tasks.
        """
        by_task = {name: asked.task_settings(name, task) for name, task in self._tasks.items()}
        return asked.agreed(self._name, "generation settings", by_task)

    def items(self) -> Iterator[Item]:
        """One item a document, in lm-eval's order. Raises DataError for what cannot be asked or scored here."""
        if self._built:  # few-shot samplers and random draws move on as they build: a second time starts anew
            self.__dict__.pop("_tasks", None)
            self._random = source.Random()
        self._built = True
        self._build_requests()
        for name, task in self._tasks.items():
            instances, task._instances = task.instances, None  # lm-eval keeps no copy beside ours
            for number, (_, requests) in enumerate(itertools.groupby(instances, key=lambda r: r.doc_id)):
                item = self._item(name, task, sorted(requests, key=lambda r: r.idx))
                if number == 0:
                    self._try_grader(item)
                yield item

    def _build_requests(self) -> None:
        protocol = self.spec.protocol
        chat = protocol.apply_chat_template
        tasks = self._tasks
        with source.quiet(), self._random.resumed(), source.load_errors(self._name, self.spec.data):
            for task in tasks.values():
                task.build_all_requests(
                    limit=self.spec.limit,
                    system_instruction=protocol.system or None,
                    apply_chat_template=chat,
                    fewshot_as_multiturn=chat,  # the command's default with a chat template (config/evaluate_config.py)
                    chat_template=asked.capture if chat else None,
                )

    def _item(self, name: str, task: Any, requests: list[Any]) -> Item:
        from lm_eval.utils import handle_non_serializable

        doc, target = requests[0].doc, task.doc_to_target(requests[0].doc)
        writes = asked.writes_answer(name, requests)
        if writes and requests[0].args[1] != task.config.generation_kwargs:
            raise DataError(f"lm-eval task '{name}' changes its generation settings from item to item; not supported")
        metadata = {
            "task": name,
            "doc_id": requests[0].doc_id,
            # as in the sample logs of evaluator.evaluate
            "doc_hash": _hash(json.dumps(doc, indent=2, default=handle_non_serializable, ensure_ascii=False)),
            "target_hash": _hash(str(target)),
            "choices": None if writes or task.config.doc_to_choice is None else task.doc_to_choice(doc),
            "doc": doc,
        }
        if not self.spec.protocol.apply_chat_template:
            metadata["prompt_hash"] = _hash(requests[0].args[0])
        if source.doc_json(metadata) is None:
            raise DataError(
                f"lm-eval task '{name}': row {requests[0].doc_id} holds what JSON cannot keep (a date, bytes, NaN); "
                "such data sets are not supported"
            )
        single = [name] == list(self._tasks) == [self._name]
        return Item(
            id=str(requests[0].doc_id) if single else f"{name}/{requests[0].doc_id}",
            prompts=asked.prompts(name, requests, writes, self.spec.protocol),
            reference=target if source.doc_json(target) else str(target),
            subgroup=None if single else name,
            metadata=metadata,
        )

    def _try_grader(self, item: Item) -> None:
        """Grade an empty and a right answer before any model runs: a scorer that fails or has another scale shows."""
        count = sum(len(prompt.continuations) for prompt in item.prompts)
        logprobs = tuple((-1.0 - n, False) for n in range(count)) or None
        for text in ("", str(item.reference)):
            with source.load_errors(self._name, self.spec.data):
                self.grade(item, Completion(text, logprobs=logprobs))

    def grade(self, item: Item, completion: Completion) -> Grade:
        """lm-eval's filters and metrics on one answer.

        `metrics` has every metric that gave a number in [0, 1], as "metric,filter"; `extracted` is the filtered answer,
        or the likeliest choice. Raises DataError where the primary metric gave no such number.
        """
        task = self._tasks[item.metadata["task"]]
        with source.quiet():
            filtered, values = _score(task, item, self._responses(item, completion))
        metrics = {key: score for key, value in values.items() if (score := _unit_score(value)) is not None}
        if self.metric not in metrics:
            raise DataError(
                f"lm-eval task '{item.metadata['task']}': metric {self.metric} gave {values.get(self.metric)!r}, "
                "no number in [0, 1]; choose another with metric:"
            )
        extracted = _chosen(item, completion) if completion.logprobs else filtered[self.metric.rpartition(",")[2]]
        answered = completion.logprobs is not None or (extracted or "").strip() not in ("", INVALID)
        return Grade(metrics[self.metric], "answered" if answered else "no_answer", extracted, metrics)

    def _responses(self, item: Item, completion: Completion) -> list[Any]:
        """The answers that lm-eval's model class would have returned for the item's requests."""
        from lm_eval.models.utils import postprocess_generated_text

        expected = sum(len(prompt.continuations) for prompt in item.prompts)
        if expected:
            given = completion.logprobs or ()
            if len(given) != expected:
                raise DataError(f"item '{item.id}' has {expected} continuations, but {len(given)} log-probabilities")
            return list(given)
        text = completion.text if completion.reasoning is None else completion.text.lstrip()
        return [postprocess_generated_text(text, list(self._stops), None)]

    @functools.cached_property
    def _stops(self) -> tuple[str, ...]:
        return self.spec.protocol.sampling(self.task_settings()).stop

    def provenance(self) -> Facts:
        """lm-eval's version and, a task, its version, data set and number of items; local files with their SHA-256."""
        import lm_eval

        tasks: dict[str, Facts] = {}
        available = 0
        with source.quiet(), self._random.resumed():
            for name, task in self._tasks.items():
                config, items = task.config, len(task.eval_docs)
                available += items
                tasks[name] = {
                    "version": task.VERSION,
                    "dataset": config.dataset_path,
                    "config": config.dataset_name,
                    "split": config.test_split or config.validation_split,
                    "num_fewshot": config.num_fewshot,
                    "items": items,
                }
        paths = {"data": self.spec.data, "fewshot_data": self.spec.fewshot_data}
        files = {key: {"path": path, "sha256": file_sha256(Path(path))} for key, path in paths.items() if path}
        return {"lm_eval": lm_eval.__version__, "available": available, "tasks": tasks, **files}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _filters(task: Any) -> list[str]:
    return [entry["name"] for entry in task.config.filter_list or [{"name": "none"}]]


def _first_metric(task: Any) -> str:
    return f"{next(iter(task.aggregation()))},{_filters(task)[0]}"


def _check_metric(name: str, task: Any, key: str) -> None:
    """Refuse a metric that the task does not have or that is no mean over items where higher is better."""
    from lm_eval.api.registry import get_aggregation

    mean, higher = get_aggregation("mean"), task.higher_is_better()
    usable = {
        f"{metric},{chosen}": aggregate is mean and higher.get(metric) is not False
        for metric, aggregate in task.aggregation().items()
        for chosen in _filters(task)
    }
    if usable.get(key):
        return
    choice = ", ".join(k for k, fits in usable.items() if fits)
    remedy = f"set metric: to one of: {choice}" if choice else "bitparity cannot compare such a task"
    if key not in usable:
        raise StudyError(f"lm-eval task '{name}' has no metric '{key}'; {remedy}")
    raise DataError(
        f"lm-eval task '{name}': its metric '{key}' is no mean of scores in [0, 1] where higher is better; {remedy}"
    )


def _score(task: Any, item: Item, responses: list[Any]) -> tuple[dict[str, str], Facts]:
    """The filtered answer by filter, and every metric as "metric,filter" (what evaluator.evaluate does a document)."""
    from lm_eval.api.instance import Instance

    meta, kind = item.metadata, "loglikelihood" if item.prompts[0].continuations else "generate_until"
    where = (meta["task"], meta["doc_id"], 1)
    instances = [
        Instance(kind, copy.deepcopy(meta["doc"]), ("", ""), index, where, [response])
        for index, response in enumerate(responses)
    ]
    view = copy.copy(task)  # filters read the instances off the task; the shared one stays as it is
    view._instances = instances
    view.apply_filters()
    filtered: dict[str, str] = {}
    values: Facts = {}
    for key in instances[0].filtered_resps:
        answers = [instance.filtered_resps[key] for instance in instances]
        filtered[key] = _text(answers[0])
        results = view.process_results(copy.deepcopy(meta["doc"]), answers)
        values |= {f"{metric},{key}": value for metric, value in results.items()}
    return filtered, values


def _text(answer: Any) -> str:
    if isinstance(answer, list | tuple) and len(answer) == 1:
        return _text(answer[0])
    return answer if isinstance(answer, str) else "" if not answer else str(answer)


def _unit_score(value: Any) -> float | None:
    """A metric's value where it is a number in [0, 1], of Python or numpy."""
    plain = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
    return float(plain) if isinstance(plain, int | float) and 0 <= plain <= 1 else None


def _chosen(item: Item, completion: Completion) -> str | None:
    """The choice with the highest log-likelihood; None where the task has no choices."""
    choices, logprobs = item.metadata["choices"], completion.logprobs or ()
    return choices[max(range(len(choices)), key=lambda n: logprobs[n][0])] if choices else None
