"""Stands in for the driver: speaks its events, trains nothing. What it does is said by the request's spec."""

import json
import os
import signal
import sys
import time

from gan_dist.runs.request import RunRequest

stopped = []


def emit(**event: object) -> None:
    print("@gan-dist " + json.dumps(event), flush=True)


def main() -> int:
    request = RunRequest.from_env()
    asked = json.loads(request.spec)
    signal.signal(signal.SIGINT, lambda *_: stopped.append(True))
    emit(event="stage", text="reading data")
    print("a print of the user", os.environ.get("FLAVOUR", ""), flush=True)
    until = asked.get("until", 1000)
    for seen in range(0, until + 1, 100):
        emit(
            event="progress",
            seen=seen,
            until=until,
            rate=1234.5,
            eta=(until - seen) / 1234.5,
            losses={"D": 1.25, "G": 0.5},
            metrics={},
            workers=2,
            stage="adversarial",
        )
        if asked.get("die_at") == seen:
            os.kill(os.getpid(), signal.SIGKILL)
        if stopped:
            time.sleep(asked.get("saving", 4))  # longer than Ray's own three seconds
            emit(event="checkpoint", path=f"{request.uri}/checkpoints/{seen:09}", seen=seen)
            emit(event="end", status="stopped", exit_code=3, message="stopped", summary=["resume it"])
            return 3
        time.sleep(asked.get("pause", 0.0))
    code = asked.get("exit", 0)
    emit(
        event="end",
        status="failed" if code else "succeeded",
        exit_code=code,
        message="a nan" if code else "",
        summary=[f"stored in {request.uri}"],
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
