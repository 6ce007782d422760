"""A driver joins its Ray."""

from __future__ import annotations

import logging
import os
from typing import Any

from gan_dist.errors import ClusterError
from gan_dist.execution.ray.private import address_of_this_machine


def connect(runtime_env: dict[str, Any] | None = None) -> None:
    """Join the Ray of this job, or of `RAY_ADDRESS`, or of this machine; start one where there is none.

    Args:
        runtime_env: what its workers need; a job that Ray started has its own.

    Raises:
        ClusterError: there is one, and it does not answer.
    """
    import ray

    address = None if "RAY_ADDRESS" in os.environ else address_of_this_machine()
    try:
        ray.init(address, runtime_env=runtime_env, log_to_driver=True, logging_level=logging.WARNING)
    except ConnectionError as error:
        named = os.environ.get("RAY_ADDRESS")
        raise ClusterError(
            f"no Ray answers{f' at {named}, which RAY_ADDRESS names' if named else ''}: {error}"
        ) from error
