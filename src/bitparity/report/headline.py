"""Headline of a report, one block a candidate: the decision, the average, speed and memory, and the reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bitparity.report.distance import noise_floor
from bitparity.report.language import Lang, guard_message, text
from bitparity.report.tables import gain
from bitparity.report.words import Tone, difference, verdict_words
from bitparity.results.decision import SEEN, decisions
from bitparity.results.schema import Benchmark, Decision, Finding, Results


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
    return [_Words(name, made, results, lang).headline() for name, made in decisions(results).items()]


class _Words:
    """The sentences on one candidate in one language."""

    def __init__(self, name: str, made: Decision, results: Results, lang: Lang) -> None:
        self.name, self.made, self.results, self.lang = name, made, results, lang
        self.pooled = results.overall.get(name)
        self.loss = any(f.standing in SEEN for f in made.findings) or bool(self.pooled and self.pooled.loss_shown)

    def headline(self) -> Headline:
        """The whole block."""
        decision = self.decision()
        first = text("colon", self.lang, name=self.name, said=decision)
        facts = [self.average(), gain(self.name, self.results, self.lang), self.distance()]
        findings = [*map(self.finding, self.made.findings), *self.fine(), *self.caveat()]
        return Headline(self.name, decision, first, self.tone(), [fact for fact in facts if fact], findings)

    def tone(self) -> Tone:
        if self.loss or self.made.decision == "do_not_deploy":
            return "loss"
        return "fine" if self.made.decision == "deploy" else "open" if self.made.valid else "invalid"

    def say(self, key: str, **figures: object) -> str:
        """The words under a key of decisions."""
        return text(f"decision.{key}", self.lang, **figures)

    def listed(self, said: Sequence[str]) -> str:
        """Several as a list in a sentence; empty where there is none."""
        *others, end = said or [""]
        return text("comma", self.lang).join(others) + text("and", self.lang) + end if others else end

    def named(self, *standings: str) -> str:
        """The benchmarks of these standings as a list; empty where there is none."""
        return self.listed([f.benchmark for f in self.made.findings if f.standing in standings])

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
        most = [(f.up_to, f.benchmark) for f in self.made.findings if f.up_to is not None]
        hard = self.named("too_hard")
        if not most and self.pooled is not None and not hard:
            most = [(max(-self.pooled.ci95[0], 0.0), self.say("average.name"))]
        losses = self.listed([self.say("up_to", loss=up_to, bench=bench) for up_to, bench in most])
        said = self.say("deploy_only_if" if self.loss else "deploy_if", losses=losses) if losses else ""
        if hard:
            said += self.say("unknown" if said else "deploy_unknown", benches=hard, made=self.made)
        return said

    def not_decided(self) -> str:
        """Why, and what would decide it."""
        reasons = [self.say("blocked", guards=self.made.blocked_by)] if self.made.blocked_by else []
        found = {key: self.named(key) for key in ("not_run", "not_graded", "incomplete", "invalid")}
        reasons += [self.say(f"because.{key}", benches=benches) for key, benches in found.items() if benches]
        # a loss that is not ruled out, and what would rule it out
        wide = [f for f in self.made.findings if f.wide and f.up_to]
        reasons = reasons or [self.say("because.wide", found=f) + self.needs(f) for f in wide]
        seen = self.named(*SEEN)
        start = self.say("not_decided_loss", benches=seen) if seen else self.say("not_decided")
        return start + text("separator", self.lang).join(reasons or [self.say("because.none")]) + self.say("stop")

    # what stands below it

    def average(self) -> str:
        """The pooled figure with the number of benchmarks in it; empty where there is only one to pool."""
        pooled = self.pooled
        if pooled is None or len(pooled.benchmarks) < 2:
            return self.say("valid", made=self.made) if self.made.of > 1 else ""
        said = {"figure": difference(pooled, self.lang), "verdict": verdict_words(pooled, self.lang)}
        return self.say("average", count=len(pooled.benchmarks), of=self.made.of, margin=pooled.margin, **said)

    def distance(self) -> str:
        """The distance of the next token, with the noise floor; empty where none was measured."""
        found = self.results.distance
        own = found.variants.get(self.name) if found is not None else None
        if found is None or own is None or own.overall is None:
            return ""
        least = "" if found.top_k == "all" or found.drawn else self.say("at_least")
        return self.say("distance", least=least, figures=own.overall, floor=noise_floor(found, self.lang))

    def fine(self) -> Iterator[str]:
        """The benchmarks that are plainly fine, each with its figure."""
        found = {bench: self.results.benchmarks[bench].comparisons[self.name] for bench in self.made.fine}
        said = [self.say("figure", bench=bench, figure=difference(c, self.lang)) for bench, c in found.items()]
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
            return self.say(f"no_figure.{found.standing}", found=found, message=self.message(found, entry))
        key = found.why if found.why in ("correction", "test", "looks", "few", "proportion") else found.standing
        tests = {"p": c and c.p_value, "adjusted": c and c.p_adjusted}
        why = self.say(f"reason.{key}", entry=entry, unscored=found.unscored, count=self.family(), **tests)
        why += self.needs(found)
        if c is None:
            return self.say("no_figure", bench=found.benchmark, reason=why)
        said = self.say("finding", bench=found.benchmark, reason=why, c=c)
        if c.doubted_by:
            said = text("doubted", self.lang, verdict=said)
        return said if c.stopped is None else text("stopped_after", self.lang, stop=c.stopped, said=said)

    def message(self, found: Finding, entry: Benchmark) -> str:
        """The message of the first guard that forbids the figure, one on the candidate itself before others."""
        spoke = [g for g in entry.guards if g.name in found.guards and g.level == "error"]
        if not spoke:
            return ""
        first = min(spoke, key=lambda g: (g.variant != self.name, found.guards.index(g.name)))
        return self.say("message", said=guard_message(first.name, first.message, self.lang).rstrip("。"))

    def family(self) -> int:
        """The comparisons that are corrected for: all valid ones of candidates."""
        found = (c for entry in self.results.benchmarks.values() for c in entry.comparisons.values())
        return sum(c.p_adjusted is not None and not c.control for c in found)

    def needs(self, found: Finding) -> str:
        """The items or samples that would settle it, with their hours; empty where that is not known."""
        if (needs := found.needs) is None:
            return ""
        hours = "" if needs.hours is None else self.say("hours" if needs.hours >= 1 / 60 else "soon", time=needs.hours)
        now = self.results.benchmarks[found.benchmark].samples
        if needs.samples is not None:
            return self.say("needs.samples", needs=needs, now=now, hours=hours)
        short = needs.available is not None and needs.items > needs.available
        return self.say("needs.more_than_it_has" if short else "needs.items", needs=needs, hours=hours)
