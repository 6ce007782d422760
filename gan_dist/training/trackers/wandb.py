"""Weights & Biases (`pip install 'gan-dist[wandb]'`)."""

from __future__ import annotations

import re
from typing import Any, Literal

from PIL import Image

from gan_dist.contracts import Shown, TrackedRun


class Wandb:
    """A run at Weights & Biases, under the run's own id, so that a resumed one goes on there.

    Curves are over samples seen. Without a network, `mode: offline` keeps all in the run's folder, for `wandb sync`.

    Args:
        run: what is shown, supplied by the run.
        project: where it is shown.
        entity: whose project; null for the default of the account.
        mode: online or offline; null for what WANDB_MODE says.
    """

    def __init__(
        self,
        *,
        run: TrackedRun,
        project: str = "gan-dist",
        entity: str | None = None,
        mode: Literal["online", "offline"] | None = None,
    ) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ValueError("it needs wandb: pip install 'gan-dist[wandb]'") from error
        self.wandb: Any = wandb
        self.run = wandb.init(
            project=project,
            entity=entity,
            mode=mode,
            id=re.sub(r"[^\w.-]+", "-", run.id)[:128],
            name=run.id,
            resume="allow",
            dir=run.folder,
            config=dict(run.job),
            settings=wandb.Settings(silent=True, console="off"),
        )
        self.run.define_metric("seen")
        self.run.define_metric("*", step_metric="seen")

    def scalars(self, values: dict[str, float], seen: int) -> None:
        self.run.log({"seen": seen, **values})

    def samples(self, name: str, shown: Shown, seen: int) -> None:
        if isinstance(shown, Image.Image):
            picture: Any = self.wandb.Image(shown, caption=f"{seen:,} samples seen")
        else:
            picture = self.wandb.Table(columns=["sentence"], data=[[line] for line in shown])
        self.run.log({"seen": seen, name: picture})

    def finish(self, finished: bool) -> None:
        self.run.finish(exit_code=0 if finished else 1)
