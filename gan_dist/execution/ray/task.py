"""What commands other than `submit` have a cluster do: an order, which is the whole input of its driver."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gan_dist.execution.events import print_event
from gan_dist.runs.request import VARIABLE


@dataclass(frozen=True)
class TaskRequest:
    """A job's name, and in plain values what it is to do."""

    name: str
    what: Mapping[str, Any]

    @property
    def run_id(self) -> str:
        return self.name

    @property
    def submission_id(self) -> str:
        return self.name

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def run_task(do: Callable[..., None], show_workers: bool = True) -> int:
    """Do what the order in the environment says, as keywords of `do`, in Ray; the exit code.

    Args:
        do: raises ValueError for what is a person's to mend.
        show_workers: whether what workers print goes to the job's log.
    """
    import ray

    order = TaskRequest(**json.loads(os.environ[VARIABLE]))
    logging.getLogger("ray").setLevel(logging.WARNING)
    ray.init(log_to_driver=show_workers, logging_level=logging.WARNING)
    code, message = 0, ""
    try:
        do(**order.what)
    except ValueError as error:
        code, message = 2, str(error)
    except (OSError, ray.exceptions.RayError) as error:
        code, message = 1, str(error)
    status = "failed" if code else "succeeded"
    print_event({"event": "end", "status": status, "exit_code": code, "message": message, "summary": []})
    return code
