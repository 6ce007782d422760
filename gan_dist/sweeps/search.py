"""The search of a sweep: what is to be trained now, from the record of what came before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gan_dist.spec.sweep import SweepSpec
from gan_dist.sweeps.sampler import list_known_configurations, suggest_learned
from gan_dist.sweeps.schedulers import PopulationBasedTraining, SuccessiveHalving
from gan_dist.sweeps.trial_log import History, Leg, LegKey, LegResult, TrialKey, TrialLog, Values


@dataclass(kw_only=True)
class Search:
    """Hands out legs and takes their results; everything passes through the record.

    Attributes:
        sweep: the section.
        scheduler: decides which configuration trains how far.
        log: the record, with what an earlier attempt left.
        name_of: the run's id of a trial.
        earlier: the history of another sweep, with whose results this one begins.
        why_invalid: what is wrong with a configuration, or None. Only one that depends on results can be wrong.
    """

    sweep: SweepSpec
    scheduler: SuccessiveHalving | PopulationBasedTraining
    log: TrialLog
    name_of: Callable[[TrialKey], str]
    earlier: History = field(default_factory=History)
    why_invalid: Callable[[Values], str | None] = lambda values: None
    stopped: bool = False
    running: dict[LegKey, Leg] = field(default_factory=dict)
    interrupted: set[LegKey] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._known = list_known_configurations(self.sweep)

    def ask(self) -> Leg | None:
        """What to train now; None when there is nothing, for now or for good (`over`)."""
        if self.stopped:
            return None
        taken = self.running.keys() | self.interrupted
        leg = next((leg for leg in self.log.history.open_legs if leg.key not in taken), None)
        while leg is None:
            suggested = self.scheduler.next_leg(self.log.history, self._suggest)
            if suggested is None:
                return None
            self.log.record_leg(suggested, self.name_of(suggested.trial))
            if (wrong := self.why_invalid(suggested.values)) is None:
                leg = suggested
            else:
                self.log.record_result(suggested, LegResult(state="refused", seen=0, message=wrong))
        self.running[leg.key] = leg
        return leg

    def tell(self, leg: Leg, result: LegResult | None) -> None:
        """Take the result of a leg; None where it was interrupted, and is to go on in another attempt."""
        del self.running[leg.key]
        if result is None:
            self.interrupted.add(leg.key)
        else:
            self.log.record_result(leg, result)

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing more comes. Asked when `ask` gave None."""
        return not self.running

    @property
    def complete(self) -> bool:
        """Whether all has been tried."""
        history = self.log.history
        return not history.open_legs and self.scheduler.next_leg(history, self._suggest) is None

    @property
    def wanted(self) -> int:
        """How many configurations there will be."""
        if self._known is not None:
            return len(self._known)
        assert self.sweep.wanted is not None
        return self.sweep.wanted

    def _suggest(self, number: int) -> Values | None:
        if number >= self.wanted:
            return None
        if self._known is not None:
            return self._known[number]
        return suggest_learned(self.sweep, number, self.log.history, self.earlier)
