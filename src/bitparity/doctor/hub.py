"""Check of the hub: every model and data set that the study needs is here or can be read, and what it downloads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bitparity.benchmarks.contract import Source
from bitparity.benchmarks.registry import benchmark_class
from bitparity.doctor.checkpoints import Checkpoints
from bitparity.doctor.findings import Finding, Topic
from bitparity.doctor.host import NO_ANSWER, Hub, Kind
from bitparity.engines.registry import engine_of
from bitparity.errors import GatedDataError
from bitparity.models.hub import NOT_INSTALLED
from bitparity.schema import LM_EVAL_PREFIX, BenchmarkSpec, Study

HUB = Topic("hub")
_NETWORK = "check the network, the proxy (HTTPS_PROXY) and HF_ENDPOINT"
_LOG_IN = "log in on this host: hf auth login, or HF_TOKEN"


class Need(NamedTuple):
    """A repository that the hub must give, at a revision (None: its newest), and the part of the study that needs it.

    `size` is what is still to be downloaded, in bytes at most (None: not known). `weights`: it is a checkpoint that is
    loaded here, so that a part of it in the cache is not enough.
    """

    repo: str
    kind: Kind
    revision: str | None
    user: str
    size: int | None
    weights: bool = False

    @property
    def name(self) -> str:
        """The repository; two revisions of a checkpoint are two downloads."""
        return f"{self.repo}@{self.revision}" if self.weights and self.revision else self.repo

    def __str__(self) -> str:
        return f"{self.kind} {self.repo} ({self.user})"


def needs_of(study: Study, checkpoints: Checkpoints) -> Iterator[Need]:
    """All that the hub must give, each repository at a revision once; checkpoints that are here whole are left out."""
    loaded = {(v.model, v.revision): name for name, v in study.variants.items() if _loads(study, name)}
    missing = {key: checkpoints[name].missing for key, name in loaded.items() if name in checkpoints}
    seen = {key for key, name in loaded.items() if name in checkpoints and checkpoints[name].whole}
    # a tokenizer that is a loaded model's own comes with its weights: one repository, asked for once
    for name, variant in study.variants.items():
        asked = [(variant.model, variant.revision)] if _loads(study, name) else []
        asked += [(variant.tokenizer, None)] if variant.tokenizer else []
        for key in asked:
            if key not in seen and not Path(key[0]).is_absolute():
                seen.add(key)
                yield Need(key[0], "model", key[1], name, missing.get(key), key in loaded)
    for spec in study.benchmarks:
        source = hub_source(spec)
        if source is not None:
            yield Need(source.path, "dataset", source.revision, spec.name, source.bytes)


def _loads(study: Study, variant: str) -> bool:
    return engine_of(study.variants[variant].engine).has_local_weights


def hub_source(spec: BenchmarkSpec) -> Source | None:
    """The place of a benchmark's data set on the hub; None where it comes from elsewhere, or lm-eval loads it."""
    if spec.data is not None or spec.name.startswith(LM_EVAL_PREFIX):
        return None
    source = benchmark_class(spec.name).info.source
    return source if source is not None and "/" in source.path else None


def check_access(needs: Sequence[Need], hub: Hub, why_not: str | None) -> Iterator[Finding]:
    """Every model and data set that is not here can be read; `why_not` says why the hub cannot be reached."""
    if not needs:
        yield HUB.ok("nothing_needed")
    elif hub.offline():
        yield from _absent(needs, hub, "this host is told to stay offline (HF_HUB_OFFLINE)", "unset it")
    elif why_not:
        remedy = "install that package" if NOT_INSTALLED in why_not else _NETWORK
        yield from _absent(needs, hub, f"the hub cannot be reached ({why_not})", remedy)
    else:
        refused = [(need, why) for need in needs if (why := hub.refusal(need.repo, need.kind)) is not None]
        for need, why in refused:
            yield HUB.error("refused", need=need, why=why, remedy=_admission(need, why))
        if not refused:
            yield HUB.ok("all_readable", token="with a token" if hub.token() else "without a token", count=len(needs))


def _absent(needs: Sequence[Need], hub: Hub, how: str, online: str) -> Iterator[Finding]:
    missing = _missing(needs, hub)
    for need in missing:
        fix = "give rows with 'data:'" if need.kind == "dataset" else "copy the checkpoint here and give its folder"
        yield HUB.error("not_in_cache", need=need, how=how, fix=fix, online=online)
    if not missing:
        yield HUB.ok("all_in_cache", how=how, count=len(needs), cache=hub.cache())


def _missing(needs: Iterable[Need], hub: Hub) -> list[Need]:
    # weights are in `needs` only where the cache has not all of them
    return [need for need in needs if need.weights or hub.cached(need.repo, need.kind, need.revision) is None]


def _admission(need: Need, why: str) -> str:
    """The remedy where the hub refuses a repository, or says nothing."""
    page = f"https://huggingface.co/{'datasets/' if need.kind == 'dataset' else ''}{need.repo}"
    if why.startswith(NO_ANSWER):
        return f"{_NETWORK}; with everything in the cache set HF_HUB_OFFLINE=1"
    if "gated" not in why:
        return f"check the name at {page}; for a private one {_LOG_IN}"
    if need.kind == "dataset":
        return str(GatedDataError(need.repo)).partition("access. ")[2]
    return f"ask for access at {page}, then {_LOG_IN}"


def downloads_of(study: Study, needs: Sequence[Need], hub: Hub) -> list[Need]:
    """All that has still to come from the hub. lm-eval loads its tasks' data by itself: of a size that is not known."""
    tasks = [spec.name for spec in study.benchmarks if spec.name.startswith(LM_EVAL_PREFIX) and spec.data is None]
    return [*_missing(needs, hub), *(Need(task, "dataset", None, task, None) for task in tasks)]
