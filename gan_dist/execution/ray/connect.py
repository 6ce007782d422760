"""A driver joins its Ray."""

from __future__ import annotations

import logging
from typing import Any


def connect(runtime_env: dict[str, Any] | None = None) -> None:
    """Join the Ray of this job, or of `RAY_ADDRESS`, or of this machine; start one where there is none.

    Args:
        runtime_env: what its workers need; a job that Ray started has its own.
    """
    import ray

    ray.init(runtime_env=runtime_env, log_to_driver=True, logging_level=logging.WARNING)
