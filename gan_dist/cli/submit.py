"""`gan-dist submit`."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gan_dist.cli import options
from gan_dist.cli.output import console, emit, say
from gan_dist.errors import UsageError
from gan_dist.events import REFUSED

if TYPE_CHECKING:
    from gan_dist.launch.cluster.local import Cluster
    from gan_dist.launch.follow import RunOutcome
    from gan_dist.launch.plan import LaunchPlan

Job = Annotated[
    str | None,
    typer.Argument(help="The job's YAML file.", metavar="JOB.yaml", autocompletion=options.complete_job),
]
Resume = Annotated[
    str | None,
    typer.Option(help="Go on with a run, with changes by -o.", metavar="RUN", autocompletion=options.complete_run),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="Start from the weights of another run or checkpoint, of an exported generator, here or on a hub, or of a "
        "published pickle.",
        metavar="RUN|EXPORT|FILE.pkl",
        autocompletion=options.complete_run,
    ),
]

Only = Annotated[
    list[str] | None,
    typer.Option(help="With --from: take this network alone, such as generator; repeatable.", metavar="NETWORK"),
]
NewCode = Annotated[
    bool, typer.Option("--new-code", help="With --resume: your modules as they are now, not as they were kept.")
]


def submit(
    job: Job = None,
    sets: options.Set = None,
    resume: Resume = None,
    start_from: From = None,
    only: Only = None,
    name: Annotated[str | None, typer.Option(help="The run's id, in place of a made one.")] = None,
    code: Annotated[str | None, typer.Option(help="Folder with your own modules, sent along.", metavar="DIR")] = None,
    new_code: NewCode = False,
    trust_code: options.TrustCode = False,
    address: options.Address = None,
    storage: options.Storage = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Two iterations of everything, then an estimate.")] = False,
    local: Annotated[bool, typer.Option("--local", help="In this process, without Ray.")] = False,
    mle_twin: Annotated[
        bool, typer.Option("--mle-twin", help="Train the job's maximum-likelihood twin of equal budget instead.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not follow the run.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build the networks, print what would be sent; start nothing.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Train a job and follow it. The exit code is the job's result."""
    from gan_dist.launch.plan import plan_new, plan_resume

    _check_together(job, resume, start_from=start_from, only=only, new_code=new_code, anew=name or smoke or mle_twin)
    if local and address is not None:
        raise UsageError("--local trains in this process, and --address names a cluster; give one of them")
    if job is not None:
        plan = plan_new(
            job,
            sets or [],
            storage=storage,
            address=address,
            name=name,
            code=code,
            start_from=start_from,
            only=only or (),
            smoke=smoke,
            twin=mle_twin,
            warn=lambda text: say(f"warning: {text}", aside=True),
        )
    else:
        plan = plan_resume(
            str(resume),
            sets or [],
            storage=storage,
            address=address,
            code=code,
            new_code=new_code,
            trust_code=trust_code,
            warn=lambda text: say(f"warning: {text}", aside=True),
        )
    if dry_run:
        _rehearse(plan, code, address, local, as_json)
        return
    outcome = _run_here(plan, as_json) if local else _run_on_cluster(plan, address, detach, as_json)
    if outcome is not None:
        finish(plan.run.id, plan.run.uri, outcome, as_json)


def _check_together(
    job: str | None,
    resume: str | None,
    *,
    start_from: str | None,
    only: list[str] | None,
    new_code: bool,
    anew: str | bool | None,
) -> None:
    """Raises UsageError where options exclude each other."""
    if (job is None) == (resume is None):
        raise UsageError("name a job file, or a run to go on with: gan-dist submit JOB.yaml | --resume RUN")
    if only and start_from is None:
        raise UsageError("--only names networks whose weights come from another run: add --from RUN")
    if new_code and resume is None:
        raise UsageError("--new-code is for a run that goes on: add --resume RUN")
    if resume is not None and (anew or start_from):
        raise UsageError(
            "--resume goes on with a run as it is; it cannot be combined with --name, --from, --smoke or --mle-twin"
        )


def finish(run_id: str, uri: str, outcome: RunOutcome, as_json: bool) -> None:
    """Print how a run ended, and leave with its exit code."""
    if as_json:
        emit(
            {
                "run": run_id,
                "uri": uri,
                "status": outcome.status,
                "exit_code": outcome.exit_code,
                "message": outcome.message,
                "summary": list(outcome.summary),
            }
        )
    with contextlib.suppress(BrokenPipeError):  # whoever read this has gone; the exit code is the run's all the same
        failed = outcome.exit_code not in (0, 3, 130)
        if outcome.message:
            say(f"{outcome.status}: {outcome.message}" if failed else outcome.message, aside=failed or as_json)
        for line in outcome.summary:
            say(line, aside=as_json)
    raise typer.Exit(outcome.exit_code)


def _run_here(plan: LaunchPlan, as_json: bool) -> RunOutcome | None:
    from gan_dist.distributed.machine import keep_freed_memory
    from gan_dist.launch.follow import LiveDisplay
    from gan_dist.runs.index import remember_run
    from gan_dist.sweeps.local import run_here

    remember_run(plan.run, attempt=plan.request.attempt, mode=plan.request.mode, code=plan.request.code or None)
    say(f"run {plan.run.id}, in this process", aside=as_json)
    say(f"  in {plan.run.uri}", aside=as_json)
    # No live display: the user's own prints and `breakpoint()` share this terminal.
    follower = LiveDisplay(console(as_json), live=False)
    keep_freed_memory()
    run_here(plan.request, follower.event)
    return follower.outcome


def _run_on_cluster(plan: LaunchPlan, address: str | None, detach: bool, as_json: bool) -> RunOutcome | None:
    from gan_dist.launch.cluster.head_storage import address_of
    from gan_dist.launch.cluster.jobs_api import JobsClient
    from gan_dist.launch.follow import LiveDisplay, ask_at_terminal, follow_job
    from gan_dist.launch.submit import submit_plan
    from gan_dist.runs.index import forget_run

    cluster = cluster_of(address or address_of(plan.run.folder), as_json)
    submission = submit_plan(plan, cluster, lambda text: say(text, aside=as_json))
    say(f"run {plan.run.id} on {cluster.address}{' (local)' if cluster.local else ''}", aside=as_json)
    say(f"  in {plan.run.uri}", aside=as_json)
    if detach:
        _detached(plan, submission, cluster, as_json)
        return None
    interactive = sys.stdin.isatty() and sys.stderr.isatty()
    follower = LiveDisplay(console(as_json))
    outcome = follow_job(
        JobsClient(cluster),
        submission,
        run_id=plan.run.id,
        follower=follower,
        ask=ask_at_terminal if interactive else None,
        run=plan.run,
    )
    if outcome.exit_code == REFUSED and plan.request.attempt == 1:
        forget_run(plan.run)  # nothing was made there, and why has been said
    return outcome


def cluster_of(address: str | None, as_json: bool) -> Cluster:
    """The cluster that is named, or a local Ray, started where none runs."""
    from gan_dist.launch.cluster.address import resolve_address, start_local

    if (cluster := resolve_address(address)) is not None:
        return cluster
    say(
        "no cluster is named: starting a local Ray (it ends itself when idle; `gan-dist down` ends it now)",
        as_json,
    )
    return start_local()


def _detached(plan: LaunchPlan, submission: str, cluster: Cluster, as_json: bool) -> None:
    run = plan.run.id
    if as_json:
        emit({"run": run, "uri": plan.run.uri, "submission": submission, "address": cluster.address})
        return
    say(f"  follow it   gan-dist logs -f {run}")
    say(f"  look at it  gan-dist status {run}")
    say(f"  stop it     gan-dist stop {run}")


def _rehearse(plan: LaunchPlan, code: str | None, address: str | None, local: bool, as_json: bool) -> None:
    _show_plan(plan, address, local, as_json)
    _rehearse_networks(plan, code)


def _rehearse_networks(plan: LaunchPlan, code: str | None) -> None:
    """Build the networks without memory, those of a person's own where their folder is named.

    Raises:
        PreflightError: `submit` would refuse them.
    """
    from gan_dist.errors import PreflightError
    from gan_dist.execution.preflight import assumed_problems
    from gan_dist.execution.smoke import with_stand_in_networks
    from gan_dist.registry.own_code import own_modules

    if own_modules(plan.spec) and code is None:
        say("your own components are built only where --code names their folder", aside=True)
        return
    # Weights that are not here are missing, as data may be: the rest of the network is built all the same.
    spec = with_stand_in_networks(plan.spec, lambda event: say(f"missing: {event.get('text')}", aside=True))
    if problems := assumed_problems(spec):
        raise PreflightError("\n".join(problems))


def _show_plan(plan: LaunchPlan, address: str | None, local: bool, as_json: bool) -> None:
    """Everything that would be sent; the values of copied variables are not shown."""
    import json
    from dataclasses import asdict

    from gan_dist.data.sources.presence import missing_data
    from gan_dist.launch.cluster.address import Cluster, resolve_address
    from gan_dist.launch.cluster.head_storage import address_of
    from gan_dist.launch.plan import resolve_job
    from gan_dist.launch.submit import entrypoint, runtime_env
    from gan_dist.registry.metric_names import job_metric_names
    from gan_dist.runs.request import VARIABLE

    found = None if local else resolve_address(address or address_of(plan.run.folder))
    cluster = found or Cluster("a local Ray, to be started", local=True)
    grace = plan.spec.resources.stop_grace
    sent = runtime_env(plan.request, cluster, plan.environment, stop_grace=grace)
    hidden = {name: "(copied from here)" for name in plan.environment.env} | {VARIABLE: "(the request)"}
    sent["env_vars"] = sent["env_vars"] | hidden
    if not cluster.local:
        sent["working_dir"] = f"(an archive of {plan.environment.code or 'no code'} and of gan_dist itself)"
    request = asdict(plan.request)
    missing = missing_data(plan.spec.data)
    document = {
        "run": plan.run.id,
        "uri": plan.run.uri,
        "cluster": "this process" if local else cluster.address,
        "in_samples": resolve_job(plan.spec),
        "missing": missing,
        "metrics": list(job_metric_names(plan.spec, [plan.environment.code or "."])),
        "job": json.loads(request.pop("spec")),
        "request": request,
    }
    if not local:
        document |= {"entrypoint": entrypoint(cluster, plan.environment), "runtime_env": sent}
    if not as_json:
        for text in missing:
            say(f"missing: {text}", aside=True)
        say("nothing is started; this would be sent:", aside=True)
    emit(document)
