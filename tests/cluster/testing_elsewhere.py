"""`python testing_elsewhere.py ADDRESS STUDY OUT`: code is tested on the nodes of a cluster, taken for other hosts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bitparity.cluster import ray_testers
from bitparity.cluster.ray_pool import connected, nodes
from bitparity.generation.prepare import prepare
from bitparity.grading.rules import Job, grade_job
from bitparity.progress.events import Events
from bitparity.records import Grade, Sample
from bitparity.store.run import WritableRun
from bitparity.study.resolve import load_study


def not_here(job: Job) -> Grade:
    raise AssertionError(f"{job.item.id} was tested on the driver's host")


def main(address: str, file: str, out: str) -> None:
    study = load_study(Path(file))
    with (
        connected(address),
        WritableRun(Path(out), study) as run,
        prepare(study, run, Events()) as prepared,
    ):
        elsewhere = [{**node, "NodeManagerHostname": "elsewhere"} for node in nodes()]
        testers = ray_testers.Testers(prepared, elsewhere, gpus=False)
        (spec,) = study.benchmarks
        benchmark = prepared.graders[spec.name].benchmark
        jobs = [
            Job(benchmark, entry.item, Sample(spec.name, entry.item.id, 0, text, "stop", 1, 1, 0.1), spec.protocol)
            for entry in prepared.exams[spec.name].items
            for text in ("```python\ndef two():\n    return 2\n```", "```python\ndef two():\n    return 3\n```")
        ]
        ray_testers.grade_job, here = not_here, [grade_job(job) for job in jobs]  # type: ignore[attr-defined]
        there = [testers.grade(job) for job in jobs]
        testers.close()
    print(json.dumps([testers.cores, [g.score for g in here], [g.score for g in there]]))


if __name__ == "__main__":
    main(*sys.argv[1:])
