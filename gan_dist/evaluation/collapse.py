"""Warnings of collapse, from what a run logs: a fold over its reports, so that a resumed run stands where it stood.

Each rule looks at one kind of tag. It begins when so many values in a row are bad, and is over when one is well again;
between the two nothing changes, so that a value at the limit does not warn at each report. Only what measurement noise
does not reach counts as bad; the reasons stand beside the numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gan_dist.spec.job import JobSpec
from gan_dist.spec.schedules import Schedule
from gan_dist.spec.sections import EmaSpec

DIVERSITY = "samples/diversity"
NORM_OF_D, NORM_OF_G = "gradient_norm/discriminator", "gradient_norm/generator"
# A generator is not yet expected to make different samples: averaged weights lag by their half-life.
LEARNING = 0.25
HALF_LIVES = 4  # of the average behind it, so that a sixteenth of it is from before training
LEAST_ITERATIONS = 100  # a rehearsal, or the first minute, says nothing
# What is helped by it -> the advice, which is left out where the job has it already.
PENALTY = "a gradient penalty (penalties: [{use: r1}])"
AUGMENT = "augmentation for few data (augment: ada)"
KEEP = "keeping the best checkpoint (keep: {best: 1, metric: fd})"

OF_TEXT = ("a lower learning rate in the adversarial stage", "a longer likelihood stage", "a higher temperature")

Report = Mapping[str, float]


@dataclass(kw_only=True)
class TagHistory:
    """What a tag has done so far: its last value, its first, lowest and highest, and bad values in a row."""

    tag: str
    last: float
    first: float
    lowest: float
    highest: float
    bad: int = 0

    @property
    def most(self) -> float:
        """The highest, but no more than real samples have."""
        return min(self.highest, 1.0)


# (course, report) -> whether it is so
Says = Callable[[TagHistory, Report], bool]


@dataclass(kw_only=True, frozen=True)
class CollapseRule:
    """One way in which training goes wrong.

    Attributes:
        tags: what is looked at.
        needed: bad values in a row with which it begins.
        bad, well: what a value is; it may be neither.
        words: what is seen, with the course's numbers in braces.
        helps: what usually helps, without what the job has already.
        collapse: whether samples have lost their variety, which a search counts as a failure.
    """

    tags: re.Pattern[str]
    needed: int
    bad: Says
    well: Says
    words: str
    helps: tuple[str, ...]
    collapse: bool = False


def _paired(course: TagHistory, report: Report) -> float:
    """BLEU of the same order as a Self-BLEU's, of the same report; infinite where it is not measured."""
    order = re.match(r"metric/self_(bleu\d)", course.tag)
    assert order is not None
    found = [value for tag, value in report.items() if tag.startswith(f"metric/{order[1]}_")]
    return found[0] if found else float("inf")


RULES = (
    # The mean distance to the nearest of 64 others is steady to some percent. Blurred or plain samples have half of
    # what real ones have; a third is reached only where many are nearly the same (Arora and Zhang 2017, arXiv
    # 1706.08224, look for such pairs too). Below a tenth all are.
    CollapseRule(
        tags=re.compile(re.escape(DIVERSITY)),
        needed=2,
        bad=lambda course, report: course.last < max(0.1, course.most / 3),
        well=lambda course, report: course.last > max(0.2, course.most / 2),
        words="samples are alike: their distance to the nearest other one is {last:.2g} of that of real samples",
        helps=("a lower learning rate of G", PENALTY, "a larger batch, from an earlier checkpoint on"),
        collapse=True,
    ),
    # Coverage and recall of a thousand samples move by a few hundredths; half of them lost is modes lost.
    CollapseRule(
        tags=re.compile(r"metric/(coverage|recall)(_.*)?"),
        needed=2,
        bad=lambda course, report: course.highest >= 0.2 and course.last < course.highest / 2,
        well=lambda course, report: course.last > 0.75 * course.highest,
        words="{tag} fell to {last:.3g} from {highest:.3g}: parts of the data are no longer made",
        helps=(PENALTY, "a lower learning rate", AUGMENT, KEEP),
        collapse=True,
    ),
    # One generator measured twice differs by a few percent, and a healthy run wavers by tens; not by twice.
    CollapseRule(
        tags=re.compile(r"metric/(fid|fd)_.*"),
        needed=2,
        bad=lambda course, report: course.last > 2 * course.lowest,
        well=lambda course, report: course.last < 1.5 * course.lowest,
        words="{tag} is {last:.4g}, more than twice its lowest, {lowest:.4g}",
        helps=("stopping here and using the best checkpoint", KEEP, "a learning rate that falls", PENALTY, AUGMENT),
    ),
    # A DCGAN on digits that turns out well has three such reports in a row at its start.
    CollapseRule(
        tags=re.compile(r"D(/[^/]+)?/accuracy"),
        needed=8,
        bad=lambda course, report: course.last >= 0.995,
        well=lambda course, report: course.last < 0.98,
        words="D is saturated: {tag} is {last:.4g}, so G learns little from it",
        helps=("a lower learning rate or fewer steps of D", PENALTY, AUGMENT),
    ),
    # A share of all sentences; a fifth is far from what chance or a short vocabulary adds within a run.
    CollapseRule(
        tags=re.compile(r"metric/duplicates(_.*)?"),
        needed=2,
        bad=lambda course, report: course.last > course.lowest + 0.2,
        well=lambda course, report: course.last < course.lowest + 0.1,
        words="{tag} rose to {last:.3g} from {lowest:.3g}: the same sentences again and again",
        helps=OF_TEXT,
        collapse=True,
    ),
    # BLEU has more references than Self-BLEU, so sentences as varied as the data are nearer to the data than to each
    # other. Both rise while a model learns its first words; only then is one above the other a loss.
    CollapseRule(
        tags=re.compile(r"metric/self_bleu\d(_.*)?"),
        needed=2,
        bad=lambda course, report: course.last > course.first and course.last > _paired(course, report) + 0.05,
        well=lambda course, report: course.last < _paired(course, report) + 0.02,
        words="{tag} rose to {last:.3g} above BLEU against the data: sentences are nearer to each other than to "
        "the data",
        helps=OF_TEXT,
    ),
)


@dataclass
class CollapseMonitor:
    """Follows a run.

    Args:
        until: samples seen at its end.
        judged_from: samples seen before which nothing is said.
        averaged_from: samples seen before which nothing is said of samples, which are those of averaged weights.
        has: advice that the job follows already.
    """

    until: int
    judged_from: int = 0
    averaged_from: int = 0
    has: frozenset[str] = frozenset()
    active: dict[str, str] = field(default_factory=dict)
    _rules: dict[str, CollapseRule | None] = field(default_factory=dict)
    _courses: dict[str, TagHistory] = field(default_factory=dict)

    def add(self, report: Report) -> list[str]:
        """Take a report (`seen` and values by tag): what begins with it, with what usually helps, and what is over."""
        told: list[str] = []
        if NORM_OF_D in report and NORM_OF_G not in report:
            return told  # D is trained alone, to be ahead of a G that stands still
        for tag, value in report.items():
            if report["seen"] < self.averaged_from and not tag.startswith("D"):
                continue
            # What is no number (a distance of too few samples) says nothing, and would stay the lowest for good.
            if (rule := self._rule_of(tag)) is not None and math.isfinite(value):
                told += self._told(rule, self._moved(tag, value), report)
        return told

    @property
    def collapsed(self) -> str | None:
        """How the samples have lost their variety; None where they have not."""
        lost = ((text, self._rule_of(tag)) for tag, text in self.active.items())
        return next((text for text, rule in lost if rule is not None and rule.collapse), None)

    def _rule_of(self, tag: str) -> CollapseRule | None:
        if tag not in self._rules:
            self._rules[tag] = next((rule for rule in RULES if rule.tags.fullmatch(tag)), None)
        return self._rules[tag]

    def _moved(self, tag: str, value: float) -> TagHistory:
        course = self._courses.setdefault(
            tag, TagHistory(tag=tag, last=value, first=value, lowest=value, highest=value)
        )
        course.last, course.lowest = value, min(course.lowest, value)
        course.highest = max(course.highest, value)
        return course

    def _told(self, rule: CollapseRule, course: TagHistory, report: Report) -> list[str]:
        course.bad = course.bad + 1 if rule.bad(course, report) else 0
        if course.tag in self.active:
            if not rule.well(course, report):
                return []
            del self.active[course.tag]
            return [f"over: {course.tag} is {course.last:.4g} again"]
        early = report["seen"] < self.judged_from
        if course.bad < rule.needed or early or self._learns_yet(course, report):
            return []
        words = rule.words.format_map(vars(course))
        self.active[course.tag] = words
        return [f"{words}. What usually helps: {', '.join(one for one in rule.helps if one not in self.has)}"]

    def _learns_yet(self, course: TagHistory, report: Report) -> bool:
        early = report["seen"] < LEARNING * self.until
        return course.tag == DIVERSITY and course.highest < 0.2 and early


def watch_reports(reports: Iterable[Report], spec: JobSpec, until: int, epoch: int = 0) -> CollapseMonitor:
    """Make a `CollapseMonitor` of a job's run that has been given these reports.

    Args:
        until: samples seen at its end.
        epoch: samples of a pass over the data.
    """
    watch = CollapseMonitor(
        until,
        judged_from=LEAST_ITERATIONS * spec.batch,
        averaged_from=_settled(spec.ema[0] if spec.ema else None, spec.batch, epoch),
        has=frozenset(_followed(spec)),
    )
    for report in reports:
        watch.add(report)
    return watch


def _settled(ema: EmaSpec | None, batch: int, epoch: int) -> int:
    """From how many samples seen on an average follows its weights."""
    if ema is None:
        return 0
    start = ema.start.samples(batch, epoch)
    if ema.half_life is None or (ema.ramp_up is not None and ema.ramp_up * HALF_LIVES <= 1):
        return start  # it is short beside what was seen, whenever one looks
    longest = max(ema.half_life.values) if isinstance(ema.half_life, Schedule) else ema.half_life.samples(batch, epoch)
    return start + round(HALF_LIVES * longest)


def _followed(spec: JobSpec) -> Iterator[str]:
    if any(stage.penalties for stage in spec.phases_plan):
        yield PENALTY
    if spec.augment is not None:
        yield AUGMENT
    if spec.keep.best:
        yield KEEP
