"""Headline of a report, one block a candidate: the decision, the average, speed and memory, and the reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bitparity.report.distance import estimated, number
from bitparity.report.language import Lang, guard_message, reason, text
from bitparity.report.tables import gain
from bitparity.report.words import (
    Tone,
    difference,
    duration,
    guards,
    interval,
    loss,
    margin,
    p_value,
    points,
    verdict_words,
)
from bitparity.results.decision import SEEN, decisions
from bitparity.results.schema import Benchmark, Comparison, Decision, Finding, Needs, Results


@dataclass(frozen=True, slots=True)
class Headline:
    """One candidate's block. `first` is its name with the decision.

    `facts` are sentences on all benchmarks together, `findings` on each that is not plainly fine.
    """

    name: str
    decision: str
    first: str
    tone: Tone
    facts: Sequence[str]
    findings: Sequence[str]

    @property
    def rest(self) -> Sequence[str]:
        """All other sentences."""
        return [*self.facts, *self.findings]


def headlines(results: Results, lang: Lang = "en") -> list[Headline]:
    """The block of each candidate."""
    return [_headline(name, made, results, lang) for name, made in decisions(results).items()]


def _headline(name: str, made: Decision, results: Results, lang: Lang) -> Headline:
    words = _Words(name, made, results, lang)
    facts = [words.average(), gain(name, results, lang), words.distance()]
    decision = words.decision()
    return Headline(
        name,
        decision,
        text("colon", lang, name=name, said=decision),
        _tone(made, loss=words.loss),
        [fact for fact in facts if fact],
        [*map(words.finding, made.findings), *words.fine(), *words.caveat()],
    )


def _tone(made: Decision, *, loss: bool) -> Tone:
    if loss or made.decision == "do_not_deploy":
        return "loss"
    if made.decision == "deploy":
        return "fine"
    return "open" if made.valid else "invalid"


class _Words:
    """The sentences on one candidate in one language."""

    def __init__(self, name: str, made: Decision, results: Results, lang: Lang) -> None:
        self.name, self.made, self.results, self.lang = name, made, results, lang
        self.pooled = results.overall.get(name)
        self.loss = any(f.standing in SEEN for f in made.findings) or bool(self.pooled and self.pooled.loss_shown)

    def say(self, key: str, **figures: object) -> str:
        """The words under a key of decisions."""
        return text(f"decision.{key}", self.lang, **figures)

    def listed(self, said: Sequence[str]) -> str:
        """Several as a list in a sentence."""
        *others, end = said
        comma = text("comma", self.lang)
        return comma.join(others) + text("and", self.lang) + end if others else end

    def named(self, *standings: str) -> str:
        """The benchmarks of these standings as a list; empty where there is none."""
        found = [f.benchmark for f in self.made.findings if f.standing in standings]
        return self.listed(found) if found else ""

    # the decision

    def decision(self) -> str:
        """The decision in a sentence."""
        match self.made.decision:
            case "deploy":
                return self.say("deploy", count=self.made.of)
            case "do_not_deploy":
                where = [*filter(None, [self.named("beyond")])]
                average = self.pooled is not None and self.pooled.verdict == "worse_beyond_margin"
                if average and (self.made.valid > 1 or not where):  # of one benchmark it is that benchmark again
                    where.append(self.say("average.name"))
                return self.say("do_not_deploy", where=self.listed(where))
            case "not_decided":
                return self.not_decided()
        return self.deploy_if()

    def deploy_if(self) -> str:
        losses = [
            self.say("up_to", loss=loss(f.up_to, self.lang), bench=f.benchmark)
            for f in self.made.findings
            if f.up_to is not None
        ]
        if not losses and self.pooled is not None and not self.named("too_hard"):
            most = loss(max(-self.pooled.ci95[0], 0.0), self.lang)
            losses = [self.say("up_to", loss=most, bench=self.say("average.name"))]
        said = self.say("deploy_only_if" if self.loss else "deploy_if", losses=self.listed(losses)) if losses else ""
        if hard := self.named("too_hard"):
            key = "unknown" if said else "deploy_unknown"
            return said + self.say(key, benches=hard, count=self.made.valid, of=self.made.of)
        return said

    def not_decided(self) -> str:
        """Why, and what would decide it."""
        reasons = [self.say("blocked", guards=guards(self.made.blocked_by, self.lang))] if self.made.blocked_by else []
        for key in ("not_run", "not_graded", "incomplete", "invalid"):
            if benches := self.named(key):
                reasons.append(self.say(f"because.{key}", benches=benches))
        wide = [f for f in self.made.findings if f.wide]
        if not reasons and wide:
            reasons = [self.wide(f, f.up_to) for f in wide if f.up_to]
        seen = self.named(*SEEN)
        start = self.say("not_decided_loss", benches=seen) if seen else self.say("not_decided")
        return start + text("separator", self.lang).join(reasons or [self.say("because.none")]) + self.say("stop")

    def wide(self, found: Finding, up_to: float) -> str:
        """A loss that is not ruled out, and what would rule it out."""
        said = self.say("because.wide", loss=loss(up_to, self.lang), bench=found.benchmark)
        return said + (self.needs(found.needs, found.benchmark) if found.needs else "")

    # what stands below it

    def average(self) -> str:
        """The pooled figure with the number of benchmarks in it; empty where there is only one to pool."""
        if self.pooled is None or len(self.pooled.benchmarks) < 2:
            return self.say("valid", count=self.made.valid, of=self.made.of) if self.made.of > 1 else ""
        return self.say(
            "average",
            figure=difference(self.pooled, self.lang),
            count=len(self.pooled.benchmarks),
            of=self.made.of,
            margin=margin(self.pooled.margin, self.lang),
            verdict=verdict_words(self.pooled, self.lang),
        )

    def distance(self) -> str:
        """The distance of the next token, with the noise floor; empty where none was measured."""
        found = self.results.distance
        own = found.variants.get(self.name) if found is not None else None
        if found is None or own is None or own.overall is None:
            return ""
        floor = found.noise_floor.overall
        noise = text("distance.no_floor", self.lang) if floor is None else number(floor.divergence.value)
        least = "" if found.top_k == "all" or found.drawn else self.say("at_least")
        return self.say("distance", least=least, figure=estimated(own.overall.divergence, self.lang), floor=noise)

    def fine(self) -> Iterator[str]:
        """The benchmarks that are plainly fine, each with its figure."""
        said = []
        for bench in self.made.fine:
            c = self.results.benchmarks[bench].comparisons[self.name]
            said.append(self.say("figure", bench=bench, figure=difference(c, self.lang)))
        if said:
            yield self.say("fine", benches=text("separator", self.lang).join(said))

    def caveat(self) -> Iterator[str]:
        """A note for weight-only precisions: another device would quantize the activations too."""
        entries = self.results.measured.values()
        if any((guard.name, guard.variant) == ("weight_only", self.name) for each in entries for guard in each.guards):
            yield self.say("weight_only")

    def finding(self, found: Finding) -> str:
        """One benchmark that is not plainly fine: figure, interval, reason."""
        entry = self.results.benchmarks[found.benchmark]
        c = entry.comparisons.get(self.name)
        if found.standing in ("invalid", "too_hard"):
            forbid = {"guards": guards(found.guards, self.lang), "message": self.message(found, entry)}
            return self.say(f"no_figure.{found.standing}", bench=found.benchmark, **forbid)
        why = self.reason(found, c, entry)
        if c is None:
            return self.say("no_figure", bench=found.benchmark, reason=why)
        shown = {"difference": points(c.difference), "interval": interval(c.ci95, lang=self.lang)}
        said = self.say("finding", bench=found.benchmark, reason=why, **shown)
        if c.doubted_by:
            said = text("doubted", self.lang, verdict=said)
        if (stop := c.stopped) is not None:
            said = text("stopped_after", self.lang, items=f"{stop.items:,}", of=f"{stop.of:,}", said=said)
        return said

    def reason(self, found: Finding, c: Comparison | None, entry: Benchmark) -> str:
        """Why a benchmark is not plainly fine."""
        key = found.why if found.why in ("correction", "test", "looks", "few", "proportion") else found.standing
        said = self.say(
            f"reason.{key}",
            margin=margin(entry.margin, self.lang),
            unscored=f"{found.unscored:,}",
            missing=reason(entry.reason, self.lang),
            count=self.family(),
            p=p_value(c.p_value if c else None),
            adjusted=p_value(c.p_adjusted if c else None),
        )
        return said + (self.needs(found.needs, found.benchmark) if found.needs else "")

    def message(self, found: Finding, entry: Benchmark) -> str:
        """The message of the first guard that forbids the figure, one on the candidate itself before others."""
        spoke = [g for g in entry.guards if g.name in found.guards and g.level == "error"]
        spoke.sort(key=lambda g: (g.variant != self.name, found.guards.index(g.name)))
        said = [guard_message(g.name, g.message, self.lang).rstrip("。") for g in spoke[:1]]
        return self.say("message", said=said[0]) if said else ""

    def family(self) -> int:
        """The comparisons that are corrected for: all valid ones of candidates."""
        found = (c for entry in self.results.benchmarks.values() for c in entry.comparisons.values())
        return sum(c.p_adjusted is not None and not c.control for c in found)

    def needs(self, needs: Needs, bench: str) -> str:
        """The items or samples that would settle it, with their hours."""
        hours = "" if needs.hours is None else self.hours(needs.hours)
        now = self.results.benchmarks[bench].samples
        if needs.samples is not None:
            return self.say("needs.samples", samples=needs.samples, now=now, hours=hours)
        short = needs.available is not None and needs.items > needs.available
        key = "needs.more_than_it_has" if short else "needs.items"
        return self.say(key, items=f"{needs.items:,}", available=f"{needs.available or 0:,}", hours=hours)

    def hours(self, hours: float) -> str:
        """A time in brackets."""
        return self.say("hours" if hours >= 1 / 60 else "soon", time=duration(hours, self.lang))
