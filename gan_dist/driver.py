"""The driver's entrypoint, `python -m gan_dist.driver`, started by `gan-dist submit`.

It imports little, so that the processes which the workers will run in can load torch while the driver does.
"""

from __future__ import annotations

import logging
import os
import sys

from gan_dist.request import Request
from gan_dist.warm import warm_workers


def main() -> int:
    """Run the request in the environment; the exit code."""
    import ray

    request = Request.from_env()
    logging.getLogger("ray").setLevel(logging.WARNING)
    ray.init(log_to_driver=True, logging_level=logging.WARNING)
    warm_workers()
    from gan_dist.conduct import conduct

    return conduct(request)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # A fit that never got its workers still runs in a thread that nothing can end; the process ends it.
    os._exit(code)
