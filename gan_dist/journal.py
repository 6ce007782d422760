"""What rank 0 writes for people: TensorBoard, the same numbers as JSON lines, grids as PNG files.

The x-axis is samples seen. A resumed run goes on with the same curves: what an interrupted attempt wrote after the
checkpoint is cut off.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from gan_dist.modalities.text import table
from gan_dist.samples import Sheet, save_sheet


class Journal:
    """Writes into a run folder.

    Args:
        root: the run folder.
        seen: where this attempt begins; later entries of earlier attempts are dropped.
    """

    def __init__(self, root: Path, seen: int) -> None:
        self.root = root
        (root / "grids").mkdir(parents=True, exist_ok=True)
        self._cut_scalars(seen)
        self.board = SummaryWriter(str(root / "tensorboard"), purge_step=seen + 1 if seen else 0)

    def scalars(self, values: dict[str, float], seen: int) -> None:
        for name, value in values.items():
            self.board.add_scalar(name, value, seen)
        line = {"seen": seen, "time": round(time.time(), 3), **values}
        with self._scalars.open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        self.board.flush()

    def sheet(self, name: str, shown: Sheet, seen: int) -> Path:
        """Store samples as `grids/<seen>.png` or `.txt` (real ones: `grids/real`), and in TensorBoard under `name`."""
        if not isinstance(shown, list):
            return self.picture(name, shown, seen)
        self.board.add_text(name, table(shown), seen)
        path = save_sheet(shown, self._stem(name, seen))
        self.board.flush()
        return path

    def _stem(self, name: str, seen: int) -> Path:
        return self.root / "grids" / ("real" if name == "real" else f"{seen:012d}")

    def picture(self, name: str, picture: Image.Image, seen: int) -> Path:
        """Store a grid as `grids/<seen>.png` (or `grids/real.png`) and in TensorBoard under `name`."""
        pixels = np.asarray(picture.convert("RGB"))
        self.board.add_image(name, pixels, seen, dataformats="HWC")
        path = save_sheet(picture, self._stem(name, seen))
        self.board.flush()
        return path

    def warning(self, text: str, seen: int) -> None:
        """Show a warning beside the curves."""
        self.board.add_text("warnings", text, seen)
        self.board.flush()

    def reports(self) -> list[dict[str, Any]]:
        """The numbers of earlier attempts, up to where this one begins."""
        return [json.loads(line) for line in self._scalars.read_text().splitlines()] if self._scalars.exists() else []

    def job(self, text: str) -> None:
        """Show the job as it was submitted."""
        indented = "".join(f"    {line}\n" for line in text.splitlines())
        self.board.add_text("job", indented, 0)

    def hyper_parameters(self, values: dict[str, Any], metrics: dict[str, float]) -> None:
        """The HParams page: the job's numbers and words beside the final metrics."""
        writer: Any = self.board.file_writer
        plain = {key: value for key, value in values.items() if isinstance(value, (int, float, str, bool))}
        for summary in hparams(plain, dict.fromkeys(metrics, 0.0)):  # type: ignore[no-untyped-call]
            writer.add_summary(summary)

    def close(self) -> None:
        self.board.close()

    @property
    def _scalars(self) -> Path:
        return self.root / "scalars.jsonl"

    def _cut_scalars(self, seen: int) -> None:
        if not self._scalars.exists():
            return
        kept = [line for line in self._scalars.read_text().splitlines() if _seen_of(line) <= seen]
        self._scalars.write_text("".join(f"{line}\n" for line in kept))


def _seen_of(line: str) -> float:
    """Where a line belongs; a line that a kill cut short belongs nowhere."""
    try:
        return float(json.loads(line)["seen"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
