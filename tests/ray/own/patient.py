"""An objective that rests in each step: a run that is to be disturbed lasts long enough for that on a fast machine, and
leaves the processors of a slow one to what disturbs it."""

import time
from pathlib import Path
from typing import Any

from gan_dist.contracts import Term
from gan_dist.objectives.adversarial import NonSaturating

REST_S = 0.02
HOLD = Path("/tmp/hold")


class Patient(NonSaturating):
    """The non-saturating loss, and a rest before each phase."""

    def terms(self, phase: str, nets: Any, batch: Any) -> dict[str, Term]:
        time.sleep(REST_S)
        return super().terms(phase, nets, batch)


class Held(NonSaturating):
    """The non-saturating loss, which stands still on a machine as long as that has the file `HOLD`."""

    def terms(self, phase: str, nets: Any, batch: Any) -> dict[str, Term]:
        while HOLD.exists():
            time.sleep(REST_S)
        return super().terms(phase, nets, batch)
