"""Every exception class of gan-dist.

GanDistError
├── UsageError                 (a ValueError too) what was asked for cannot be done as asked
│   ├── JobError               a job file that cannot be run as written
│   ├── PreflightError         what a run would meet later, found before anything started
│   ├── DataError              data that cannot be used
│   │   ├── DataNotFound       nothing is there, or it cannot be reached
│   │   └── UnreadableSample   one sample, which is rejected and counted
│   ├── NoSuchRun              no run of that name; exit code 4
│   ├── StorageError           a folder that cannot be read or written
│   │   └── StorageUnreachable (an OSError too) a remote storage that does not answer
│   ├── CheckpointError        a checkpoint that cannot be used
│   ├── PackagingError         code or an environment that cannot be sent to a cluster
│   ├── NoSuchJob              the cluster knows no such job, or package of code
│   └── ClusterError           no cluster can be reached or started; exit code 5
│       ├── RequestRefused     the cluster answered, and did not do what was asked
│       └── ClusterUnusable    what answers lets nobody in, or is no dashboard of Ray
├── RunFailed                  a run that cannot go on; exit code 1
│   ├── ProcessLost            a cluster lost a process that the run needs; `--resume` goes on
│   ├── TrainingDiverged       (a ValueError too) a loss or gradient is no longer finite
│   ├── OutOfMemory            (a ValueError too) networks and batch do not fit the device
│   └── UserCodeError          an exception in a person's own code
└── RunStopped                 a stop was asked for before training began; exit code 3

Constructors of networks, losses and layers raise ValueError, as PyTorch's do.
"""

from __future__ import annotations

from collections.abc import Iterable

from gan_dist.spec.problems import Problem


class GanDistError(Exception):
    """The base of all exceptions that gan-dist raises on purpose; the text is meant for the user."""


class UsageError(GanDistError, ValueError):
    """What was asked for cannot be done as asked; the text says what is wrong and what would work."""


class JobError(UsageError):
    """A job that cannot be run as written; `problems` holds everything that was found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        assert self.problems
        super().__init__("\n".join(map(str, self.problems)))

    def __reduce__(self) -> tuple[type[JobError], tuple[tuple[Problem, ...]]]:
        """Pickled by its problems, not by its text."""
        return type(self), (self.problems,)


class PreflightError(UsageError):
    """Preflight found what would fail later; nothing was started."""


class DataError(UsageError):
    """The data of a job cannot be used; the text says what is wrong and what would work."""


class DataNotFound(DataError):
    """The data are not at hand: nothing is there, or it cannot be reached."""


class UnreadableSample(DataError):
    """One sample that cannot be used; the text is the reason shown to the user."""


class NoSuchRun(UsageError):
    """No run of that name is known; the command's exit code is 4."""


class StorageError(UsageError):
    """A folder that cannot be read or written; the text names the folder and the reason."""


class StorageUnreachable(OSError, StorageError):
    """A remote storage that does not answer, or lets nobody in. A missing file is a FileNotFoundError instead."""


class LeaseLost(StorageError):
    """A run that another driver has taken over; nothing is written of it any more."""


class CheckpointError(UsageError):
    """A checkpoint that cannot be used; the text says which and why."""


class PackagingError(UsageError):
    """The code or the environment of a job cannot be sent as asked."""


class ClusterError(UsageError):
    """No cluster can be reached or started; the text says why. The command's exit code is 5."""


class NoSuchJob(UsageError):
    """The cluster knows no job of that id, or no package of code of that name."""


class RequestRefused(ClusterError):
    """The cluster answered and did not do what was asked; the text is its own."""


class ClusterUnusable(ClusterError):
    """What answers at a cluster's address wants another token, or is no dashboard of Ray: to ask again is no use."""


class RunFailed(GanDistError):
    """A run that ended before its goal; the text says why."""


class ProcessLost(RunFailed):
    """A cluster lost a process that the run needs, by no fault of the run; `--resume` goes on."""


class TrainingDiverged(RunFailed, ValueError):
    """A loss or gradient became NaN or infinite; the text says which was the first."""


class OutOfMemory(RunFailed, ValueError):
    """Networks and batch do not fit; another try would meet it again."""


class UserCodeError(RunFailed):
    """An exception in a person's own code; `text` is its traceback without our frames and Ray's."""

    def __init__(self, text: str) -> None:
        super().__init__(text.strip().splitlines()[-1])
        self.text = text

    def __reduce__(self) -> tuple[type[UserCodeError], tuple[str]]:
        """Pickled by the whole traceback."""
        return type(self), (self.text,)


class RunStopped(GanDistError):
    """A stop was asked for before training began."""
