"""A trial as Ray Tune runs it: an actor that asks for no CPU, because its workers do, and lives for many trials."""

from __future__ import annotations

import json
import queue
import threading
from dataclasses import asdict
from typing import Any

from ray import tune

from gan_dist.sweeps.search.history import Task

TURN_S = 2.0


class TuneTrial(tune.Trainable):
    """One leg at a time. Each `step` returns what happened since the last, so that the actor stays responsive."""

    _thread: threading.Thread

    def setup(self, config: dict[str, Any], common: Any = None, data: Any = None) -> None:
        """Begin the task in `config`.

        Args:
            config: `task`, as JSON.
            common: what all trials of the sweep share.
            data: the data of the sweep's job, served already.
        """
        import logging

        logging.getLogger("ray").setLevel(logging.WARNING)
        self.common, self.data = common, data
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin the next task in the same process."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Samples seen so far; at the end `done`, with the outcome as JSON (null where it was interrupted)."""
        self._thread.join(TURN_S)
        while not self._events.empty():
            event = self._events.get()
            if event["event"] == "progress":
                self._seen = event["seen"]
        if self._thread.is_alive():
            return {"seen": self._seen}
        if self._error is not None:
            raise self._error
        outcome = None if self._outcome is None else asdict(self._outcome)
        return {"seen": self._seen, "done": True, "outcome": json.dumps(outcome)}

    def cleanup(self) -> None:
        """Save and end what still trains, so that no worker or placement group is left."""
        self._trial.stop.set()
        self._thread.join()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial resumes from its run's own checkpoints."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing, for the same reason."""

    def _begin(self, config: dict[str, Any]) -> None:
        from gan_dist.sweeps.trial import Trial

        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._outcome: Any = None
        self._error: Exception | None = None
        self._seen = 0
        self._trial = Trial(self.common, Task(**json.loads(config["task"])), self._train, self._events.put)
        self._thread = threading.Thread(target=self._go, daemon=True)
        self._thread.start()

    def _go(self) -> None:
        try:
            self._outcome = self._trial.go()
        except Exception as error:
            self._error = error

    def _train(self, attempt: Any, spec: Any) -> dict[str, Any]:
        from gan_dist.data.order import epoch_samples
        from gan_dist.execution.ray.run import run_with_data
        from gan_dist.sweeps.trial import truncate_job
        from gan_dist.training.schedule import Clock

        data = self._served(attempt, spec)
        clock = Clock(spec.batch, epoch_samples(data.facts.count, spec.batch))
        return run_with_data(attempt, truncate_job(spec, self._trial.task.until, clock), lambda: data)

    def _served(self, attempt: Any, spec: Any) -> Any:
        """The sweep's data, or, where this trial has others, those."""
        if spec.model_dump(mode="json")["data"] == self.common.job["data"]:
            return self.data
        import ray

        from gan_dist.execution.preflight import earlier_window
        from gan_dist.execution.ray.prepare_ahead import BackgroundPreparation
        from gan_dist.execution.ray.run import load_into_object_store

        cluster: Any = ray
        stand_in_of = spec.batch if attempt.request.mode == "smoke" else None
        reading = BackgroundPreparation(spec.data, attempt.folder.prepared(), 1, stand_in_of, lambda done, total: None)
        return load_into_object_store(
            reading.result(), spec, cluster.nodes(), earlier_window(attempt.folder), attempt.emit
        )
