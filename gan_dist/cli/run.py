"""`gan-dist run`."""

from __future__ import annotations

from typing import Annotated

import typer

from gan_dist.cli import options
from gan_dist.cli.output import console, say
from gan_dist.cli.submit import finish
from gan_dist.errors import UsageError


def run(
    job: Annotated[
        str, typer.Argument(help="The job's YAML file.", metavar="JOB.yaml", autocompletion=options.complete_job)
    ],
    name: Annotated[str, typer.Option(help="The run's id: one that is there already goes on.")],
    sets: options.Set = None,
    code: Annotated[str | None, typer.Option(help="Folder with your own modules.", metavar="DIR")] = None,
    trust_code: options.TrustCode = False,
    storage: options.Storage = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Two iterations of everything, then an estimate.")] = False,
    as_json: options.Json = False,
) -> None:
    """Be a run's driver, on the Ray of this machine or of RAY_ADDRESS: what RayJob, Slurm or Airflow start. Started
    again, it goes on; a run that is finished ends at once with exit code 0."""
    from gan_dist.launch.follow import LiveDisplay
    from gan_dist.launch.plan import plan_new, plan_resume
    from gan_dist.launch.run_in_place import begun_run, is_finished, run_in_place, wait_until_free

    def warn(text: str) -> None:
        say(f"warning: {text}", aside=True)

    found = begun_run(job, name, sets or [], storage)
    if found is None:
        plan = plan_new(job, sets or [], storage=storage, name=name, code=code, smoke=smoke, warn=warn)
    else:
        wait_until_free(found, lambda text: say(text, aside=True))
        if smoke or found.request().get("mode") == "smoke":
            raise UsageError(f"--name {name!r}: a rehearsal is not gone on with; give it a name of its own")
        if is_finished(found, sets or [], code):
            say(f"run {name} is finished: {found.uri}", aside=as_json)
            return
        root = found.uri.rpartition("/")[0]
        plan = plan_resume(name, sets or [], storage=root, code=code, trust_code=trust_code, warn=warn)
    follower = LiveDisplay(console(as_json), live=False)
    run_in_place(plan, follower.event)
    assert follower.outcome is not None
    finish(plan.run.id, plan.run.uri, follower.outcome, as_json)
