"""What bitparity costs and gains beside bare vLLM and lm-eval, on one device, with one model.

    python perf/gpu_throughput.py MODEL DATA WORK study       # a fresh run of one variant, whole command
    python perf/gpu_throughput.py MODEL DATA WORK bare        # (a) its requests, in one call of LLM.generate
    python perf/gpu_throughput.py MODEL DATA WORK one-by-one  # (b) lm-eval on AIME24 alone, --batch_size 1
    python perf/gpu_throughput.py MODEL DATA WORK three       # (c) three tasks of lm-eval, through bitparity
    python perf/gpu_throughput.py MODEL DATA WORK lm-eval     # (c) the same three in one lm-eval process
    python perf/gpu_throughput.py MODEL DATA WORK summary     # the ratios
    python perf/gpu_throughput.py MODEL DATA WORK watch STUDY OUT   # (d) any study under the same eye

DATA holds aime24.jsonl, math500.jsonl, gsm8k_test.jsonl, humaneval.jsonl and mmlu_pro_test.jsonl[.gz]. WORK keeps what
is made. Each part runs by itself, appends one JSON line to WORK/results.jsonl and prints it; all times are of whole
processes, loading and exit included, in seconds. `--warm` first loads the engine twice and drops it: vLLM keeps what it
compiled on the disk, so without it the part that comes first pays for all the others. Twice, since the first load keeps
some kernels in a place where only a load that compiles looks: the second compiles them again (17 to 19 s on an H100,
vLLM 0.25.1), the third does not. Nothing else should run on the host, on its other devices neither.

(a) bitparity's whole time over (load + LLM.generate): `study` over `bare`. The requests are read back from the run, so
    token ids, sampling values, seeds and order are the same; the bare call's engine has the same settings, which
    are those that vLLM's class LLM takes by itself. Its load counts from the process's start to the engine's readiness;
    it reads its requests, made by another process, after that and outside of both times.
(b) lm-eval's time on AIME24 over bitparity's for the same items in a study with others. Those items are one benchmark
    of `study` (same task file, prompts and budget), and their time is the whole command's (load, exams, grading and
    report included) times their share of all output tokens: in a shared pool no item has a time of its own.
(c) lm-eval's time on three tasks over bitparity's: MATH-500, AIME24, GSM8K with lm-eval's prompts, stops and
    budgets, but AIME24's, which is --aime-tokens so that it fits the context. GSM8K's worked examples come from the
    same file, which is all that DATA has.
(d) output tokens a second and the device's utilisation (NVML, once a second) over each variant's generation, loads
    left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from bitparity.engines import messages

VARIANT = "bf16"
AIME = "aime24"
# lm-eval's file of each task, and ours with only the place of the rows changed
TASKS = {"math500": "hendrycks_math/hendrycks_math500", AIME: "aime/aime24", "gsm8k": "gsm8k/gsm8k"}
ROWS = {"math500": "math500.jsonl", AIME: "aime24.jsonl", "gsm8k": "gsm8k_test.jsonl"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=lambda path: Path(path).resolve())
    parser.add_argument("data", type=lambda path: Path(path).resolve())
    parser.add_argument("work", type=lambda path: Path(path).resolve())
    parser.add_argument("part", choices=[*PARTS, "generate"])
    parser.add_argument("rest", nargs="*", type=Path)
    parser.add_argument("--engine", type=json.loads, default={"max_model_len": 4096, "gpu_memory_utilization": 0.9})
    parser.add_argument("--mmlu", type=int, default=3000, help="items of MMLU-Pro in the study")
    parser.add_argument("--limit", type=int, help="items of each benchmark, for a trial")
    parser.add_argument("--most-tokens", type=int, default=2048, help="the study's longest answers; less for a trial")
    parser.add_argument("--aime-tokens", type=int, default=2048)
    parser.add_argument("--warm", action="store_true")
    parser.add_argument("--unsafe-exec", action="store_true", help="as bitparity run has it")
    args = parser.parse_args()
    os.environ.update({"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"})
    args.work.mkdir(parents=True, exist_ok=True)
    if args.warm:
        warm(args)
    found = PARTS[args.part](args) if args.part != "generate" else generate(args)
    for figures in found:
        line = {"part": args.part, **figures, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        with (args.work / "results.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


# ---------------------------------------------------------------- bitparity


def study(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One variant, all in one pool: what (a) and (b) are measured on."""
    most = args.most_tokens
    benchmarks: list[dict[str, Any]] = [
        {"name": "mmlu_pro", "data": mmlu(args), "limit": args.mmlu, "max_tokens": min(1024, most)},
        {"name": "math500", "data": str(args.data / "math500.jsonl"), "max_tokens": most},
        {"name": "humaneval", "data": str(args.data / "humaneval.jsonl"), "max_tokens": min(1024, most)},
        {
            "name": AIME,
            "data": str(args.data / "aime24.jsonl"),
            "samples": 16,
            "max_tokens": most,
            "temperature": 0.6,
            "top_p": 0.95,
        },
        {"name": f"lm_eval:{task_file(args, AIME)}"},
    ]
    yield from bitparity(args, write_study(args, "throughput", benchmarks), args.work / "study")


def three(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """lm-eval's three tasks."""
    benchmarks = [{"name": f"lm_eval:{task_file(args, name)}"} for name in TASKS]
    yield from bitparity(args, write_study(args, "three-tasks", benchmarks), args.work / "three")


def watch(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Any study."""
    place, out = args.rest
    yield from bitparity(args, place, out, fresh=False)


def write_study(args: argparse.Namespace, name: str, benchmarks: list[dict[str, Any]]) -> Path:
    content = {
        "study": name,
        "variants": {VARIANT: {"model": str(args.model), "baseline": True}},
        "engine": {"kind": "vllm", **args.engine},
        "benchmarks": benchmarks,
    }
    path = args.work / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def bitparity(args: argparse.Namespace, place: Path, out: Path, fresh: bool = True) -> Iterator[dict[str, Any]]:
    """Run a study; one line for the command, with what each variant did."""
    if fresh and out.exists():
        sys.exit(f"{out} exists; this is measured on a fresh run")
    command = [sys.executable, "-m", "bitparity", "run", str(place), "--out", str(out)]
    command += ["--limit", str(args.limit)] if args.limit else []
    command += ["--unsafe-exec"] if args.unsafe_exec else []
    with utilisation(out.with_suffix(".utilisation.jsonl")) as seen:
        seconds, _ = timed(command, out.with_suffix(".log"), allowed=(0, 1, 3))  # a verdict may say more than 0
    if not (out / "results.json").exists():
        sys.exit(f"bitparity did not finish:\n{out.with_suffix('.log').read_text(errors='replace')[-3000:]}")
    variants = per_variant(out, seen)
    yield {"seconds": seconds, "device": device(out), "study": place.name, "variants": variants}


def per_variant(out: Path, seen: list[tuple[float, int]]) -> dict[str, Any]:
    """(d) for every variant of a run, from its records and what NVML said meanwhile."""
    from bitparity.store.run import Run

    run = Run(out)
    found = {}
    for name, stored in run.environment().variants.items():
        if stored.generation is None:
            continue
        took, engine = stored.generation, stored.engines[-1]
        begun = datetime.fromisoformat(engine.sessions[-1]).timestamp()
        during = [share for at, share in seen if begun <= at <= begun + took.seconds]
        counted = {
            spec.name.rpartition("/")[2]: sum(s.tokens for s in run.samples(name, spec.name).values())
            for spec in run.study().benchmarks
        }
        found[name] = {
            "generation_s": took.seconds,
            "samples": took.samples,
            "output_tokens": took.output_tokens,
            "tokens_per_s": round(took.output_tokens / took.seconds, 1),
            **busy(during),
            "by_benchmark": counted,
            "max_num_seqs": engine.facts.get("max_num_seqs"),
            "kernels": engine.facts.get("layer_kernels"),
        }
    return found


# ---------------------------------------------------------------- bare vLLM


def bare(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The study's requests in one call, in a process of its own, which finds them in a file."""
    asked, ends = requests(args.work / "study")
    with (args.work / "requests.jsonl").open("wb") as file:
        file.write(json.dumps(ends).encode() + b"\n")
        file.writelines(messages.encode("request", *messages.values_of(each)) for each in asked)
    command = [sys.executable, __file__, str(args.model), str(args.data), str(args.work), "generate"]
    command += ["--engine", json.dumps(args.engine)]
    with utilisation(args.work / "bare.utilisation.jsonl") as seen:
        timed(command, args.work / "bare.log", {STARTED: str(time.time())})
    line: dict[str, Any] = json.loads((args.work / "bare.json").read_text())
    during = [share for at, share in seen if line["begun"] <= at <= line["begun"] + line["generate_s"]]
    yield {**line, "device": device(args.work / "study"), **busy(during)}


def generate(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The process of `bare`."""
    from vllm import LLM
    from vllm.inputs import TokensPrompt

    llm = LLM(model=str(args.model), generation_config="vllm", **args.engine)
    ready = time.time()
    from bitparity.engines.vllm_engine import sampling_params

    with (args.work / "requests.jsonl").open("rb") as file:
        ends = json.loads(file.readline())
        asked = [messages.decode_request(json.loads(line)) for line in file]
    prompts = [TokensPrompt(prompt_token_ids=list(request.token_ids or ())) for request in asked]
    parameters = [sampling_params(request, ends) for request in asked]
    loaded = time.time()
    outputs = llm.generate(prompts, parameters, use_tqdm=False)
    took = time.time() - loaded
    tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
    schedule = llm.llm_engine.vllm_config.scheduler_config
    line = {
        "load_s": round(ready - float(os.environ[STARTED]), 2),
        "begun": loaded,
        "generate_s": round(took, 2),
        "requests": len(asked),
        "output_tokens": tokens,
        "tokens_per_s": round(tokens / took, 1),
        "max_num_seqs": schedule.max_num_seqs,
        "max_num_batched_tokens": schedule.max_num_batched_tokens,
    }
    (args.work / "bare.json").write_text(json.dumps(line))
    return iter(())


def requests(out: Path) -> tuple[list[Any], list[int]]:
    """A finished run's requests in the order in which they were sent, and the tokens that end an answer."""
    from bitparity.benchmarks.registry import benchmark_class
    from bitparity.engines.model_files import open_models
    from bitparity.exam.frozen import load_exam
    from bitparity.exam.requests import Examinee
    from bitparity.generation.plan import sort_longest_first
    from bitparity.store.run import Run

    run = Run(out)
    whole = run.study()
    (name,) = whole.variants
    renderer = open_models(whole)[name].renderer
    asked: list[Any] = []
    for spec in whole.benchmarks:
        asked += Examinee(name, renderer, renderer).requests(load_exam(run.exam_path(spec.name)), spec)
    ends: list[int] = run.environment().variants[name].engines[-1].facts["end_token_ids"]
    tested = {spec.name for spec in whole.benchmarks if benchmark_class(spec.name).runs_code}
    return sort_longest_first(asked, (), {}, tested), ends


def warm(args: argparse.Namespace) -> None:
    """Load the engine twice as the parts do, so that all find what was compiled."""
    code = (
        "import json, sys; from vllm import LLM, SamplingParams; "
        "llm = LLM(model=sys.argv[1], generation_config='vllm', **json.loads(sys.argv[2])); "
        "llm.generate(['One, two'], SamplingParams(max_tokens=8), use_tqdm=False)"
    )
    command = [sys.executable, "-c", code, str(args.model), json.dumps(args.engine)]
    for _ in range(2):
        seconds, _ = timed(command, args.work / "warm.log")
        print(json.dumps({"part": "warm", "seconds": seconds}), flush=True)


# ---------------------------------------------------------------- lm-eval


def one_by_one(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """AIME24 alone, one question after another."""
    yield lm_eval(args, [AIME], "1", "one-by-one")


def three_lm_eval(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Three tasks in one process."""
    yield lm_eval(args, list(TASKS), "auto", "lm-eval")


def lm_eval(args: argparse.Namespace, tasks: list[str], batch_size: str, name: str) -> dict[str, Any]:
    """lm-eval's own command with its vLLM backend, chat template applied as bitparity applies it."""
    files = [task_file(args, task) for task in tasks]
    # the same values as everywhere here, so that what vLLM compiled is found again
    model = json.dumps({"pretrained": str(args.model), "revision": None, "generation_config": "vllm", **args.engine})
    out = args.work / name
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "vllm", "--model_args", model]
    command += ["--tasks", ",".join(file.stem for file in files), "--include_path", str(files[0].parent)]
    command += ["--batch_size", batch_size, "--apply_chat_template", "--log_samples", "--output_path", str(out)]
    command += ["--limit", str(args.limit)] if args.limit else []
    with utilisation(args.work / f"{name}.utilisation.jsonl") as seen:
        seconds, _ = timed(command, args.work / f"{name}.log")
    scores = {}
    for file in sorted(out.rglob("results_*.json")):
        for task, metrics in json.loads(file.read_text())["results"].items():
            scores[task] = {key: value for key, value in metrics.items() if isinstance(value, float)}
    line = {"seconds": seconds, "device": device(args.work / "study"), "tasks": tasks, "batch_size": batch_size}
    return {**line, **busy([share for _, share in seen]), "scores": scores}


def task_file(args: argparse.Namespace, task: str) -> Path:
    """lm-eval's own task over a local file; AIME24 with a budget that fits the context."""
    import lm_eval

    own = Path(lm_eval.__file__).parent / "tasks" / f"{TASKS[task]}.yaml"
    rows = str(args.data / ROWS[task])
    content = {
        "include": str(own),
        "task": f"{task}_here",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"train": rows, "test": rows}},
    }
    if task == AIME:
        settings = yaml.load(own.read_text(), Loader=Plain)["generation_kwargs"]
        content["generation_kwargs"] = {**settings, "max_gen_toks": args.aime_tokens}
    place = args.work / "tasks"
    place.mkdir(exist_ok=True)
    path = place / f"{task}_here.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


class Plain(yaml.SafeLoader):
    """Reads a task file without its functions."""


Plain.add_constructor("!function", lambda loader, node: None)


def mmlu(args: argparse.Namespace) -> str:
    found = [args.data / f"mmlu_pro_test.jsonl{end}" for end in ("", ".gz")]
    return str(next(path for path in found if path.exists()))


# ---------------------------------------------------------------- ratios


def summary(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """(a) to (d) from the latest line of each part."""
    latest: dict[str, dict[str, Any]] = {}
    for text in (args.work / "results.jsonl").read_text().splitlines():
        line = json.loads(text)
        latest[line["part"]] = line
    ours, alone = latest.get("study"), latest.get("bare")
    if ours and alone:
        yield {
            "figure": "a",
            "bitparity_s": ours["seconds"],
            "load_s": alone["load_s"],
            "generate_s": alone["generate_s"],
            "ratio": round(ours["seconds"] / (alone["load_s"] + alone["generate_s"]), 3),
            "target": "at most 1.05",
            "device": ours["device"],
        }
    if ours and (single := latest.get("one-by-one")):
        (variant,) = ours["variants"].values()
        share = variant["by_benchmark"][f"{AIME}_here.yaml"] / variant["output_tokens"]
        yield {
            "figure": "b",
            "lm_eval_s": single["seconds"],
            "bitparity_s": round(ours["seconds"] * share, 2),
            "share_of_tokens": round(share, 4),
            "ratio": round(single["seconds"] / (ours["seconds"] * share), 2),
            "target": "at least 20",
            "device": ours["device"],
        }
    if (own := latest.get("three")) and (theirs := latest.get("lm-eval")):
        ratio = round(theirs["seconds"] / own["seconds"], 3)
        seconds = {"lm_eval_s": theirs["seconds"], "bitparity_s": own["seconds"]}
        yield {"figure": "c", **seconds, "ratio": ratio, "target": "at least 1.0", "device": own["device"]}
    for part in ("study", "watch"):
        for name, variant in (latest.get(part) or {"variants": {}})["variants"].items():
            shown = ("tokens_per_s", "generation_s", "output_tokens", "utilisation_mean", "utilisation_median")
            figures = {key: variant[key] for key in shown}
            where = {"study": latest[part]["study"], "variant": name, "device": latest[part]["device"]}
            yield {"figure": "d", **where, **figures}


# ---------------------------------------------------------------- clocks


def timed(
    command: list[str], log: Path, environment: dict[str, str] | None = None, allowed: tuple[int, ...] = (0,)
) -> tuple[float, int]:
    """(seconds from start to exit, exit code) of a command; what it prints goes to `log`."""
    started = time.perf_counter()
    with log.open("wb") as file:
        ended = subprocess.run(command, check=False, stdout=file, stderr=file, env=os.environ | (environment or {}))
    seconds = time.perf_counter() - started
    if ended.returncode not in allowed:
        sys.exit(f"{' '.join(command)} ended with {ended.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
    return round(seconds, 2), ended.returncode


@contextlib.contextmanager
def utilisation(path: Path) -> Iterator[list[tuple[float, int]]]:
    """(time, percent) of the device once a second, into a list and a file; empty where NVML shows none."""
    seen: list[tuple[float, int]] = []
    stop = threading.Event()

    def look() -> None:
        with contextlib.suppress(Exception), path.open("w") as file:  # NVML raises its own tree of errors
            import pynvml

            pynvml.nvmlInit()
            shown = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
            by_index = shown.isdigit()
            handle = (
                pynvml.nvmlDeviceGetHandleByIndex(int(shown)) if by_index else pynvml.nvmlDeviceGetHandleByUUID(shown)
            )
            while not stop.wait(1):
                seen.append((time.time(), int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)))
                file.write(json.dumps(seen[-1]) + "\n")
                file.flush()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def busy(during: list[int]) -> dict[str, float | None]:
    """Mean and median of percentages."""
    if not during:
        return {"utilisation_mean": None, "utilisation_median": None}
    return {"utilisation_mean": round(statistics.fmean(during), 1), "utilisation_median": statistics.median(during)}


def device(out: Path) -> str | None:
    """The device that a run's engine named; the processor where it has no name."""
    path = out / "environment.json"
    if not path.exists():
        return None
    for variant in json.loads(path.read_text())["variants"].values():
        for engine in variant["engines"]:
            return str(engine["facts"].get("device_name") or engine["facts"].get("device"))
    return None


STARTED = "BITPARITY_BARE_STARTED"
PARTS = {
    "study": study,
    "bare": bare,
    "one-by-one": one_by_one,
    "three": three,
    "lm-eval": three_lm_eval,
    "summary": summary,
    "watch": watch,
}

if __name__ == "__main__":
    main()
