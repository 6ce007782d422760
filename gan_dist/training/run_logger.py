"""What a run logs: numbers gathered on the device and reduced once per report, into JSON lines and TensorBoard."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from gan_dist.data.encoding.text import format_table
from gan_dist.errors import StorageError
from gan_dist.generation.samples import Sheet, save_sheet
from gan_dist.runs.mirror import PUSH_S, Mirror
from gan_dist.runs.run_folder import parse_reports
from gan_dist.runs.storage import Folder
from gan_dist.training.trackers.background import Trackers

LONG_BYTES = 8 << 20
_show_thread_error = threading.excepthook


def show_storage_errors_once() -> None:
    """Keep the traceback of TensorBoard's writing thread from the terminal: its error is raised with the next entry."""
    threading.excepthook = _show_other_errors


def _show_other_errors(error: threading.ExceptHookArgs) -> None:
    if type(error.thread).__name__ != "_AsyncWriterThread":
        _show_thread_error(error)


class RunLogger:
    """Writes into a run folder.

    Args:
        folder: the run folder.
        seen: where this attempt begins; later entries of earlier attempts are dropped.
        warn: is told of what could not be copied to the storage.
        trackers: are given the same beside.
    """

    def __init__(
        self, folder: Folder, seen: int, warn: Callable[[str], None], trackers: Trackers | None = None
    ) -> None:
        self.trackers = trackers or Trackers((), warn)
        self.mirror = Mirror(folder, warn)
        self.root = self.mirror.here
        with self._writing():
            (self.root / "grids").mkdir(parents=True, exist_ok=True)
            self._scalars = self.mirror.pull("scalars.jsonl")
            self._cut_scalars(seen)
        self.board = SummaryWriter(str(self.root / "tensorboard"), purge_step=seen + 1 if seen else 0)

    def scalars(self, values: dict[str, float], seen: int) -> None:
        line = {"seen": seen, "time": round(time.time(), 3), **values}
        with self._writing():
            for name, value in values.items():
                self.board.add_scalar(name, value, seen)
            with self._scalars.open("a") as stream:
                stream.write(json.dumps(line) + "\n")
            self._written()
        self.trackers.scalars(values, seen)

    def sheet(self, name: str, shown: Sheet, seen: int) -> str:
        """Store samples as `grids/<seen>.png` or `.txt` (real ones: `grids/real`), and in TensorBoard under `name`.

        Returns where they lie on the storage.
        """
        with self._writing():
            path = save_sheet(shown, self.root / "grids" / ("real" if name == "real" else f"{seen:012d}"))
            if isinstance(shown, list):
                self.board.add_text(name, format_table(shown), seen)
            else:
                # Not add_image, which would make a second PNG of the same pixels.
                picture = Summary.Image(
                    height=shown.height,
                    width=shown.width,
                    colorspace=len(shown.getbands()),
                    encoded_image_string=path.read_bytes(),
                )
                self._file_writer().add_summary(Summary(value=[Summary.Value(tag=name, image=picture)]), seen)
            self._written()
        self.trackers.samples(name, shown, seen)
        return f"{self.mirror.folder.uri}/grids/{path.name}"

    def push(self) -> None:
        """Bring the storage up to date now."""
        with self._writing():
            self.board.flush()
            self.mirror.push()

    def _written(self) -> None:
        self.board.flush()
        self.mirror.push(PUSH_S)
        if self.mirror.folder.local is None and self._board_bytes() > LONG_BYTES:
            self.mirror.push()
            self.board.close()  # the next entry begins a new file

    def _board_bytes(self) -> int:
        """Of TensorBoard's newest file."""
        return max(self.root.glob("tensorboard/events.*"), key=lambda path: path.name).stat().st_size

    def warning(self, text: str, seen: int) -> None:
        """Show a warning beside the curves."""
        with self._writing():
            self.board.add_text("warnings", text, seen)
            self.board.flush()

    def reports(self) -> list[dict[str, Any]]:
        """The numbers of earlier attempts, up to where this one begins."""
        return parse_reports(self._scalars.read_bytes()) if self._scalars.exists() else []

    def job(self, text: str) -> None:
        """Show the job as it was submitted."""
        indented = "".join(f"    {line}\n" for line in text.splitlines())
        self.board.add_text("job", indented, 0)

    def hyper_parameters(self, values: dict[str, Any], metrics: dict[str, float]) -> None:
        """The HParams page: the job's numbers and words beside the final metrics."""
        plain = {key: value for key, value in values.items() if isinstance(value, (int, float, str, bool))}
        for summary in hparams(plain, dict.fromkeys(metrics, 0.0)):  # type: ignore[no-untyped-call]
            self._file_writer().add_summary(summary)

    def _file_writer(self) -> Any:
        """What takes whole entries; another one after the board was closed."""
        return self.board._get_file_writer()  # type: ignore[no-untyped-call]

    def close(self, finished: bool = False) -> None:
        """Bring everything to its place; `finished` tells trackers whether the run is."""
        self.trackers.end(finished)
        with self._writing():
            self.board.close()
            self.mirror.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Raises StorageError where the folder cannot be written, or is no longer there."""
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            self.check_there()
            raise StorageError(f"storage {self.mirror.folder.uri!r} cannot be written: {error}") from error

    def check_there(self) -> None:
        """Raises StorageError where the folder was taken away: what is written next would make another in its place."""
        if not (self.root / "grids").is_dir():
            told = "it was deleted or moved while the run was training"
            raise StorageError(f"storage {self.mirror.folder.uri!r} cannot be written: {told}")

    def _cut_scalars(self, seen: int) -> None:
        if not self._scalars.exists():
            return
        kept = [report for report in parse_reports(self._scalars.read_bytes()) if report["seen"] <= seen]
        beside = self._scalars.with_suffix(".part")  # a kill leaves the old curves or the new
        beside.write_text("".join(f"{json.dumps(report)}\n" for report in kept))
        beside.replace(self._scalars)


FOLD = 256


class Stats:
    """Means since the last report. Nothing is read from the device before `means`.

    Every worker adds the same names in the same iterations.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._sums: dict[str, list[Tensor]] = {}
        self._weights: dict[str, float | Tensor] = {}
        # By name, for each phase of the iteration before this one and of this one.
        self._before: list[dict[str, list[Tensor]]] = []
        self._now: list[dict[str, list[Tensor]]] = [{}]

    def add(self, name: str, total: Tensor, weight: float | Tensor) -> None:
        """Add a sum over `weight` things (samples, pixels, steps)."""
        value = total.detach()
        values = self._sums.setdefault(name, [])
        values.append(value)
        self._now[-1].setdefault(name, []).append(value)
        self._weights[name] = self._weights.get(name, 0.0) + weight
        if len(values) == FOLD:
            self._sums[name] = [_sum(values)]

    def means(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """The mean of each name over all workers since the last call; starts over."""
        names = sorted(self._sums)
        if not names:
            return {}
        sums = torch.stack([_sum(self._sums[name]) for name in names])
        counts = [self._weights[name] for name in names]
        weights = torch.stack([torch.as_tensor(one, dtype=torch.float64, device=self.device) for one in counts])
        both = reduce(torch.stack([sums, weights])).tolist()
        self._sums, self._weights = {}, {}
        return {name: total / weight if weight else 0.0 for name, total, weight in zip(names, *both, strict=True)}

    def next_phase(self) -> None:
        """A phase is over."""
        self._now.append({})

    def next_iteration(self) -> None:
        """An iteration is over: its values are kept for one more, in which the workers' verdict on it is read."""
        self._before, self._now = self._now, [{}]

    def not_finite(self, reduce: Callable[[Tensor], Tensor]) -> list[str]:
        """What was NaN or infinite on any worker in the first phase that had such, in the order it was added: after a
        bad step everything is bad and says nothing. Every worker must call this."""
        for values in filter(None, self._before + self._now):
            flags = torch.stack([(~torch.isfinite(_sum(each))).double() for each in values.values()])
            if named := [name for name, flag in zip(values, reduce(flags).tolist(), strict=True) if flag]:
                return named
        return []


def _sum(values: list[Tensor]) -> Tensor:
    return torch.stack([value.double() for value in values]).sum()


def memory_gib(device: torch.device) -> float:
    """Peak memory of the device, or of this process on a CPU, in GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    import psutil

    return float(psutil.Process().memory_info().rss / 2**30)
