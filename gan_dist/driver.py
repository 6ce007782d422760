"""The driver's entrypoint, `python -m gan_dist.driver`, started by `gan-dist submit`.

It imports little before it can be interrupted, so that an early stop is heard too.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

from gan_dist.request import Request


def main() -> int:
    """Run the request in the environment; the exit code."""
    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    import ray

    request = Request.from_env()
    logging.getLogger("ray").setLevel(logging.WARNING)
    ray.init(log_to_driver=True, logging_level=logging.WARNING)
    from gan_dist.conduct import conduct

    return conduct(request, stop)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # A fit that never got its workers still runs in a thread that nothing can end; the process ends it.
    os._exit(code)
