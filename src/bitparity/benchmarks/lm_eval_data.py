"""Loading of lm-eval 0.4.13's tasks as its own command does it: from the hub, or from local files.

Nothing of a task's YAML is changed but where its rows come from. lm-eval's chatter and its data library's download
counter stay off while it works, and the random draws it makes start from the seeds of its command (0 for Python,
1234 for numpy and the few-shot samples; `--seed` in lm_eval/_cli/run.py) without touching the program's own.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import json
import logging
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from bitparity.benchmarks.dataset import read_jsonl
from bitparity.errors import (
    DataError,
    GatedDataError,
    MissingDependencyError,
    StudyError,
    UnavailableError,
    UserInputError,
)
from bitparity.models.hub import use_cache_where_unreachable

Tasks = dict[str, Any]  # lm-eval's task objects by name
RandomStates = tuple[Any, Any]
Config = dict[str, Any]  # a task's YAML as lm-eval reads it


class Leaf(NamedTuple):
    """One task of an index: its configuration (functions by name only) and the YAML file that it stands in."""

    config: Config
    yaml: Path
    overridden: bool

    @property
    def name(self) -> str:
        """The task's name."""
        return str(self.config["task"])

    @property
    def evaluated_split(self) -> str | None:
        """The split that is asked."""
        return self.config.get("test_split") or self.config.get("validation_split")

    @property
    def fewshot_split(self) -> str | None:
        """Where worked examples come from (ConfigurableTask.fewshot_docs); None where the task carries them itself."""
        fewshot = self.config.get("fewshot_config") or {}
        split = fewshot.get("split", self.config.get("fewshot_split"))
        if split or fewshot.get("samples") is not None:
            return split or None
        return next(filter(None, map(self.config.get, ("training_split", "validation_split", "test_split"))), None)

    @property
    def shots(self) -> int:
        """The number of worked examples that come from a split of their own."""
        own = self.fewshot_split not in (None, self.evaluated_split)
        return int(self.config.get("num_fewshot") or 0) if own else 0

    def splits(self, data: str, fewshot_data: str | None) -> dict[str, str]:
        """The file for each split that the task reads: lm-eval opens the few-shot split even where it shows none."""
        shown = self.fewshot_split
        files = {split: data for split in (self.evaluated_split, shown) if split}
        if shown is not None and self.shots:
            if fewshot_data is None:
                raise StudyError(
                    f"lm-eval task '{self.name}' shows {self.shots} worked examples from its split '{shown}'; "
                    "give their rows with fewshot_data: beside data:"
                )
            files[shown] = fewshot_data
        return files


class Random:
    """lm-eval's random state: seeded at first, resumed each later time, the program's own restored."""

    def __init__(self) -> None:
        import numpy as np
        from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED

        drawn = np.random.RandomState(DEFAULT_OTHER_SEED).get_state()
        self._states: RandomStates = random.Random(DEFAULT_RANDOM_SEED).getstate(), drawn

    @contextlib.contextmanager
    def resumed(self) -> Iterator[None]:
        """Draw from lm-eval's state inside."""
        outer = _exchanged(self._states)
        try:
            yield
        finally:
            self._states = _exchanged(outer)


def _exchanged(states: RandomStates) -> RandomStates:
    """Set the random states of Python and numpy; the states before."""
    import numpy as np

    before = random.getstate(), np.random.get_state()
    random.setstate(states[0])
    np.random.set_state(states[1])
    return before


def require() -> None:
    """Raises MissingDependencyError where lm-eval is not installed."""
    try:
        import lm_eval.tasks  # noqa: F401
    except ImportError:
        raise MissingDependencyError("lm-eval", "lm-eval", "a benchmark of the form lm_eval:<task>") from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep lm-eval's log lines and progress bars off the terminal, and its data library from counting downloads."""
    import datasets
    import lm_eval.api.task as task_module

    logger, bar = logging.getLogger("lm_eval"), functools.partial(task_module.tqdm, disable=True)
    level, bars = logger.level, not datasets.are_progress_bars_disabled()
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        with patch.object(task_module, "tqdm", bar), patch.object(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False):
            yield
    finally:
        logger.setLevel(level)
        if bars:
            datasets.enable_progress_bars()


def load_tasks(name: str, data: str | None, fewshot_data: str | None, cache: Path) -> Tasks:
    """The leaf tasks of a task, group or tag, by name, in lm-eval's order, ready to build requests.

    `name` may be the path of a task's YAML file, as for lm-eval. `data` and `fewshot_data` are JSONL files (also .gz)
    that take the place of the data set; `cache`, an empty folder that must outlive the tasks, takes what is derived
    from them, so that no earlier version of a file is ever read. Raises StudyError for an unknown name and DataError
    where a task cannot be loaded.
    """
    from lm_eval.defaults import DEFAULT_OTHER_SEED

    manager, name = _manager_of(name)
    leaves = list(_leaves(manager.task_index, name))
    for leaf in leaves:  # what the YAML alone shows is refused before any data is fetched
        config = leaf.config
        shows = bool(config.get("doc_to_image") or config.get("doc_to_audio"))
        refuse(leaf.name, config.get("output_type"), shows, bool(config.get("unsafe_code")), config.get("repeats") or 1)
        if data is not None and "class" in config:
            raise DataError(f"lm-eval task '{leaf.name}' reads its data by code of its own; remove data: for it")
    sources: Any = name
    if data is not None:
        sources = _local_sources(name, leaves, data, fewshot_data, cache)
    elif fewshot_data is not None:
        raise StudyError(f"lm_eval:{name}: fewshot_data needs data beside it; both come from files or neither does")
    use_cache_where_unreachable()
    with load_errors(name, data):
        tasks: Tasks = manager.load(sources)["tasks"]
    for key, task in tasks.items():
        multimodal, unsafe = getattr(task, "MULTIMODAL", False), getattr(task, "UNSAFE_CODE", False)
        refuse(key, task.OUTPUT_TYPE, multimodal, unsafe, task.config.repeats)
        if task.config.num_fewshot is None:  # what simple_evaluate does
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
    return tasks


@functools.cache
def _manager(folder: Path | None) -> Any:
    """The index of lm-eval's own tasks, or of the YAML files in `folder` alone; takes seconds, so made once."""
    from lm_eval.tasks import TaskManager

    return TaskManager() if folder is None else TaskManager(include_path=folder, include_defaults=False)


def _manager_of(name: str) -> tuple[Any, str]:
    """The index that has a task, and the task's name in it; `name` may be the path of a YAML file."""
    if name.endswith((".yaml", ".yml")):
        path = Path(name).expanduser().resolve()
        manager = _manager(path.parent)
        names = [name for name, entry in manager.task_index.items() if entry.yaml_path == path]
        if len(names) == 1:
            return manager, names[0]
        raise StudyError(f"{path} is no YAML file of an lm-eval task or group; check the path and its 'task' key")
    manager = _manager(None)
    if name in manager.task_index:
        return manager, name
    near = difflib.get_close_matches(name, manager.all_tasks, 3)
    hint = f"did you mean {' or '.join(near)}?" if near else "list them with: lm-eval ls tasks"
    raise StudyError(f"lm-eval has no task, group or tag named '{name}'; {hint}")


def _leaves(index: Mapping[str, Any], member: Any, overridden: bool = False) -> Iterator[Leaf]:
    """The tasks below an entry of the index, without loading any."""
    given: Config = member if isinstance(member, dict) else {}
    entry = index.get(str(given.get("group") or given.get("task") or member))
    # an entry with keys beside its name changes what it names
    overridden = overridden or len(given) > 1
    if entry is None and isinstance(given.get("task"), list):  # a group written inside its parent
        for child in given["task"]:
            yield from _leaves(index, child, True)
    elif entry is None:  # a task written inside its parent
        yield Leaf(given, Path(), True)
    elif entry.kind.name == "TAG":
        for child in sorted(entry.tags):
            yield from _leaves(index, child, overridden)
    elif entry.kind.name == "GROUP":
        own = set(entry.cfg) - {"group", "group_alias", "task", "aggregate_metric_list", "metadata", "tag"}
        for child in entry.cfg["task"]:
            yield from _leaves(index, child, overridden or bool(own))
    else:
        yield Leaf(entry.cfg, entry.yaml_path, overridden)


def refuse(name: str, output_type: str | None, multimodal: bool, unsafe: bool, repeats: int) -> None:
    """Raises DataError for a task whose answers are no texts or log-likelihoods scored one by one."""
    reasons = {
        "measures rolling log-likelihoods (perplexity), no score an item": output_type == "loglikelihood_rolling",
        "shows images or sound, which the engines here do not take": multimodal,
        "runs code that the model wrote, outside any sandbox": unsafe,
        f"scores {repeats} answers of an item together (repeats: {repeats})": repeats > 1,
    }
    for reason, holds in reasons.items():
        if holds:
            raise DataError(f"lm-eval task '{name}' {reason}; bitparity does not run such tasks of lm-eval")


def _local_sources(name: str, leaves: list[Leaf], data: str, fewshot_data: str | None, cache: Path) -> list[str]:
    """One YAML file a task that includes the task's own and names the files in place of its data set."""
    import yaml

    if any(leaf.overridden for leaf in leaves):
        raise DataError(f"group '{name}' changes the settings of its tasks; with data: name a single task instead")
    # one file can stand for one configuration of one data set; the tasks may only select from it
    sets = {(leaf.config.get("dataset_path"), leaf.config.get("dataset_name")) for leaf in leaves}
    if len(sets) > 1:
        raise DataError(
            f"the tasks of '{name}' read {len(sets)} different data sets or configurations; "
            "with data: name a single task, each with its own file"
        )
    for path in filter(None, (data, fewshot_data)):
        _check_rows(path)
    files: dict[str, str] = {}
    for leaf in leaves:
        for split, path in leaf.splits(data, fewshot_data).items():
            if files.setdefault(split, path) != path:
                raise DataError(f"the tasks of '{name}' disagree about what split '{split}' is; run them one by one")
    if fewshot_data is not None and not any(leaf.shots for leaf in leaves):
        raise StudyError(f"lm_eval:{name} shows no worked examples from a split of their own; remove fewshot_data")
    sources = []
    for leaf in leaves:
        kwargs = {"data_files": files, "cache_dir": str(cache / "datasets")}
        place = {"dataset_path": "json", "dataset_name": None, "custom_dataset": None, "dataset_kwargs": kwargs}
        source = cache / f"{leaf.name}.yaml"
        source.write_text(yaml.safe_dump({"include": str(leaf.yaml), "task": leaf.name, **place}), encoding="utf-8")
        sources.append(str(source))
    return sources


def _check_rows(path: str) -> None:
    """Every row is an object with the fields of the first: the data library would fill what is missing with null."""
    rows = read_jsonl(Path(path))
    for number, row in enumerate(rows, 1):
        missing = sorted(rows[0].keys() ^ row.keys())
        if missing:
            raise DataError(
                f"{path}, line {number}: the fields differ from line 1 ({', '.join(missing[:5])}); "
                "every row needs the same ones"
            )


@contextlib.contextmanager
def load_errors(name: str, data: str | None) -> Iterator[None]:
    """Say what a failed load means; the task's own code and the data library raise anything."""
    try:
        yield
    except UserInputError:
        raise
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"lm-eval task '{name}' needs the package '{error.name}', which is not installed; install it, "
            "or the extra of lm-eval that its task page names"
        ) from error
    except Exception as error:
        raise _load_error(name, data, error) from error


def _load_error(name: str, data: str | None, error: Exception) -> DataError:
    reason = (str(error).strip().splitlines() or [""])[0][:200]
    if "gated dataset" in str(error):
        return GatedDataError(reason.partition("'")[2].partition("'")[0] or f"of lm_eval:{name}")
    remedy = "its data set must be reachable or in the cache; without internet give a local file with data:"
    if data is not None:
        remedy = f"is {data} in the schema of the task's own data set?"
    if "pip install" in str(error):
        remedy = "install what it asks for"
    # a file of the study can be corrected; what the hub does not give costs this benchmark only
    kind = DataError if data is not None else UnavailableError
    return kind(f"lm-eval task '{name}' could not be loaded ({type(error).__name__}: {reason}); {remedy}")


def doc_json(doc: Any) -> str | None:
    """A document as JSON, None where JSON cannot keep it as it is."""
    try:
        text = json.dumps(doc, ensure_ascii=False)
    except (TypeError, ValueError):
        return None
    return text if json.loads(text) == doc else None
