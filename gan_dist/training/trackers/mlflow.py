"""MLflow (`pip install 'gan-dist[mlflow]'`)."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from PIL import Image

from gan_dist.contracts import Shown, TrackedRun
from gan_dist.spec.problems import flatten_keys

TAG = "gan_dist.run"
OTHER = re.compile(r"[^\w.\- /:]+")  # what its names may not hold
LONGEST_PARAMETER, MOST_IN_A_CALL = 500, 100


class Mlflow:
    """A run on an MLflow server, found again by the run's own id, so that a resumed one goes on there.

    The step of every value is samples seen. The job's keys are parameters, and `job.json` is among its files. Sentences
    are rows of a table, beside the samples seen by then.

    Args:
        run: what is shown, supplied by the run.
        uri: of the server, or a folder; null for what MLFLOW_TRACKING_URI says.
        experiment: where it is shown.
    """

    def __init__(self, *, run: TrackedRun, uri: str | None = None, experiment: str = "gan-dist") -> None:
        try:
            import mlflow
            from mlflow.entities import Metric, Param
        except ImportError as error:
            raise ValueError("it needs mlflow-skinny: pip install 'gan-dist[mlflow]'") from error
        self.metric: Any = Metric
        self.client: Any = mlflow.MlflowClient(tracking_uri=uri)
        known = self.client.get_experiment_by_name(experiment)
        number = self.client.create_experiment(experiment) if known is None else known.experiment_id
        earlier = self.client.search_runs([number], filter_string=f"tags.`{TAG}` = '{run.id}'", max_results=1)
        if earlier:
            self.id = earlier[0].info.run_id
            self.client.update_run(self.id, status="RUNNING")
            return
        self.id = self.client.create_run(number, run_name=run.id, tags={TAG: run.id}).info.run_id
        flat = [Param(_name(key), str(value)[:LONGEST_PARAMETER]) for key, value in flatten_keys(run.job).items()]
        for start in range(0, len(flat), MOST_IN_A_CALL):
            self.client.log_batch(self.id, params=flat[start : start + MOST_IN_A_CALL])
        self.client.log_text(self.id, json.dumps(run.job, indent=1), "job.json")

    def scalars(self, values: dict[str, float], seen: int) -> None:
        now = int(time.time() * 1000)
        self.client.log_batch(self.id, metrics=[self.metric(_name(key), one, now, seen) for key, one in values.items()])

    def samples(self, name: str, shown: Shown, seen: int) -> None:
        if isinstance(shown, Image.Image):
            # By key and step its page has a slider of them beside the curves; by a file's name they are files alone.
            self.client.log_image(self.id, shown, key=name, step=seen)
        else:
            # One table for all steps, to which rows are added: the names of a run's tables have to fit into one tag.
            rows = {"seen": [seen] * len(shown), "sentence": list(shown)}
            self.client.log_table(self.id, data=rows, artifact_file=f"{_name(name)}.json")

    def finish(self, finished: bool) -> None:
        self.client.set_terminated(self.id, status="FINISHED" if finished else "KILLED")


def _name(key: str) -> str:
    return OTHER.sub("_", key)
