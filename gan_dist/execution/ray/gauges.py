"""What Ray's dashboards, and a Prometheus beside them, are told of a run."""

from __future__ import annotations

import threading
import time
from typing import Any

from gan_dist.events import ProgressEvent

GAUGES = {
    "samples_seen": "Samples seen.",
    "samples_per_s": "Samples per second of all workers.",
    "loss": "A loss, by `of`.",
    "metric": "The last value of a metric, by `of`.",
    "waiting": "1 while a run waits for its turn, else 0.",
    "restarts": "How often the workers of this attempt were started again.",
    "nodes_lost": "How many nodes this attempt has lost.",
}


REPEAT_S = 5.0  # Ray exports what was set since it was last asked, and forgets it


class RunGauges:
    """The gauges of one run, as this process knows them. Ray exports each as `ray_gan_dist_NAME`, tagged with `run`, up
    to the end of the process."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._made: dict[str, Any] = {}
        self._shown: dict[tuple[str, str], float] = {}
        threading.Thread(target=self._repeat, daemon=True).start()

    def show(self, name: str, value: float, of: str = "") -> None:
        """Set one of `GAUGES`."""
        self._set(name, value, of)
        self._shown[name, of] = value

    def _repeat(self) -> None:
        while True:
            time.sleep(REPEAT_S)
            for (name, of), value in list(self._shown.items()):
                self._set(name, value, of)

    def _set(self, name: str, value: float, of: str) -> None:
        from ray.util.metrics import Gauge

        if name not in self._made:
            self._made[name] = Gauge(f"gan_dist_{name}", description=GAUGES[name], tag_keys=("run", "of"))
        self._made[name].set(value, tags={"run": self._run, "of": of})

    def progress(self, event: ProgressEvent) -> None:
        """Show where training stands."""
        self.show("samples_seen", event["seen"])
        self.show("samples_per_s", event["rate"])
        for name, value in event["losses"].items():
            self.show("loss", value, name)
        for name, value in event["metrics"].items():
            self.show("metric", value, name)
