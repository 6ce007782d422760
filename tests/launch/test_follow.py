"""What a person sees of a job: plain lines, the live display, Ray's own talk left out."""

import io
import json
import os
import signal
import threading
from contextlib import contextmanager

import pytest
from rich.console import Console

from gan_dist.errors import ClusterError
from gan_dist.execution.log_lines import parse_event, printed_by_user
from gan_dist.launch import follow
from gan_dist.launch.cluster.local import Cluster, LocalClusterState, write_private
from gan_dist.launch.follow import LiveDisplay, RunOutcome, follow_job, format_clock, outcome_of, shorten
from gan_dist.runs.lease import take
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder


def event(**fields):
    return "@gan-dist " + json.dumps(fields)


def progress(seen, **more):
    known = {
        "until": 10_000,
        "rate": 512.4,
        "eta": 83,
        "losses": {"D": 0.69, "G": 1.5},
        "metrics": {},
        "workers": 2,
    }
    return event(event="progress", seen=seen, stage="adversarial", **(known | more))


def fed(*lines, times=None, **how):
    ticks = iter(times or range(0, 10_000, 10))
    file = io.StringIO()
    follower = LiveDisplay(Console(file=file, width=120), clock=lambda: next(ticks), **how)
    with follower:
        for line in lines:
            follower.feed(line)
    return follower, file.getvalue().splitlines()


def test_plain_lines():
    follower, lines = fed(
        event(event="stage", text="reading data"),
        event(event="preflight", lines=["2 workers x 1 CPU", "1,797 images of 32x32x1"]),
        event(event="warning", text="no GPU: this will be slow"),
        progress(500),
        "the user says [bold]hello[/]",
        event(event="checkpoint", path="/runs/a/checkpoints/1", seen=1000),
        progress(10_000, eta=0, metrics={"fd_digits": 12.345}),
        event(event="end", status="succeeded", exit_code=0, message="", summary=["stored in /runs/a"]),
    )
    assert lines == [
        "reading data ...",
        "2 workers x 1 CPU",
        "1,797 images of 32x32x1",
        "warning: no GPU: this will be slow",
        "500 / 10k (5.0%)  512 samples/s  eta 1:23  D 0.69  G 1.5  2 workers",
        "the user says [bold]hello[/]",
        "checkpoint at 1k: checkpoints/1",
        "10k / 10k (100.0%)  512 samples/s  eta 0:00  D 0.69  G 1.5  fd_digits 12.35  2 workers",
    ]
    assert follower.outcome == RunOutcome("succeeded", 0, "", ("stored in /runs/a",))
    assert follower.checkpoint == "/runs/a/checkpoints/1"


def test_the_time_is_that_of_the_stage_where_others_follow():
    _, lines = fed(progress(500, stage_until=6_000), progress(7_000, stage_until=10_000))
    assert [line.split("  ")[2] for line in lines] == ["eta 1:23 of adversarial", "eta 1:23"]


def test_at_most_one_line_in_a_few_seconds_but_always_the_last():
    ended = event(event="end", status="failed", exit_code=1, message="D became NaN")
    _, lines = fed(progress(1), progress(2), progress(3), progress(4), ended, times=[0, 1, 2, 6, 7])
    assert [line.split()[0] for line in lines] == ["1", "4"]
    _, lines = fed(progress(1), progress(2), progress(3), ended, times=[0, 1, 2, 3])
    assert [line.split()[0] for line in lines] == ["1", "3"]


def test_a_line_of_progress_says_what_is_new():
    """A sweep that waits for its trials prints nothing meanwhile, and a metric stands where it was measured."""
    measured = {"fd_digits": 12.345}
    _, lines = fed(
        progress(100, metrics=measured),
        progress(100, metrics=measured, rate=1.0, eta=900),
        progress(200, metrics=measured),
        progress(300, metrics={"fd_digits": 9.5}),
    )
    assert [line.split()[0] for line in lines] == ["100", "200", "300"]
    assert ["fd_digits" in line for line in lines] == [True, False, True]
    ended = event(event="end", status="succeeded", exit_code=0)
    _, lines = fed(progress(100, metrics=measured), progress(101, metrics=measured), ended, times=[0, 1, 2])
    assert "fd_digits" in lines[-1], "the last line has every metric"


def test_unknown_and_broken_events_are_harmless():
    _, lines = fed(event(event="novelty", x=1), '@gan-dist {"event": "prog', "@gan-dist 3")
    assert lines == []
    assert parse_event("text") is None


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-23 05:56:52,717\tINFO job_manager.py:581 -- Runtime env is setting up.",
        "\x1b[36m(TrainController pid=812)\x1b[0m [2026-11-23 05:56:52,717 I 812 812] core_worker.cc: up",
        "(PlacementGroupCleaner pid=5) Exception in thread PlacementGroupCleanerMonitor:",
        "(_StatsActor pid=5) Traceback (most recent call last):",
        "(autoscaler +12s) Tip: use `ray status` to view detailed cluster status.",
        "(autoscaler +1m2s) Warning: The following resource request cannot be scheduled right now: {'CPU': 4.0}.",
        "Running entrypoint for job a.1: python -m gan_dist.launch.driver",
        "",
    ],
)
def test_rays_own_talk_is_left_out(line):
    assert printed_by_user(line) is None
    assert fed(line)[1] == []


def test_everything_is_there_when_asked_for():
    line = "Running entrypoint for job a.1: python -m gan_dist.launch.driver"
    assert fed(line, progress(1), progress(2), everything=True, times=[0, 1])[1][0] == line


def test_prints_of_workers_lose_rays_prefix():
    line = "\x1b[36m(RayTrainWorker pid=5, ip=127.0.0.1)\x1b[0m hello there [repeated 2x across cluster] (...)"
    assert printed_by_user(line) == "hello there"


def test_live_display_and_lines_above_it():
    file = io.StringIO()
    follower = LiveDisplay(Console(file=file, width=100, force_terminal=True, color_system=None))
    with follower:
        follower.feed("before")
        follower.feed(progress(2_500))
        shown = Console(file=io.StringIO(), width=100)
        shown.print(follower._display())
    text = shown.file.getvalue()
    assert "adversarial" in text and "2.5k / 10k (25.0%)" in text and "512 samples/s  eta 1:23" in text
    assert "D 0.69  G 1.5  2 workers" in text
    assert "before" in file.getvalue() and "\x1b[?25h" in file.getvalue()  # the cursor is back


def test_what_an_end_means():
    told = RunOutcome("stopped", 3)
    assert outcome_of({"status": "STOPPED"}, told, "a") is told
    assert outcome_of({"status": "STOPPED"}, None, "a").exit_code == 3
    died = outcome_of({"status": "FAILED", "driver_exit_code": -9, "message": "x"}, None, "a")
    assert died.exit_code == 1 and "driver died" in died.message and "--resume a" in died.summary[0]
    failed = outcome_of({"status": "FAILED", "message": "pip failed. Last available logs: ..."}, None, "a")
    assert failed.message == "Ray could not run the job: pip failed."
    lost = outcome_of({"status": "FAILED", "message": "The actor died."}, None, "a", begun=True)
    assert lost.message.startswith("the cluster lost a process") and "--resume a" in lost.summary[0]


class Cut:
    """A local cluster's jobs whose log breaks off."""

    cluster = Cluster("http://127.0.0.1:1", local=True)

    def tail(self, job):
        yield event(event="stage", text="reading data")
        raise ClusterError("no Ray cluster answers at http://127.0.0.1:1: Connection refused")


def followed_to_the_cut(run, job="r.1"):
    display = LiveDisplay(Console(file=io.StringIO()))
    return follow_job(Cut(), job, run_id="r", follower=display, ask=None, run=run)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(follow, "TICK_S", 0.01)
    return RunFolder(Folder.at(tmp_path / "r"))


def test_the_folder_has_the_last_word_where_the_cluster_went(run):
    run.update(status="stopped", attempt=1, exit_code=3, message="", summary=["stopped: r"])
    assert followed_to_the_cut(run) == RunOutcome("stopped", 3, "", ("stopped: r",))
    assert followed_to_the_cut(run, "r.2").status == "lost", "the record is of the attempt before"


@contextmanager
def written_for_a_while(run, status, exit_code):
    """Somebody drives the run, and soon ends it so."""
    lease = take(run.folder, 1)
    run.update(status="running", attempt=1, exit_code=None)

    def end():
        run.update(status=status, exit_code=exit_code)
        lease.release()

    timer = threading.Timer(0.3, end)
    timer.start()
    yield
    timer.join()


def test_a_writer_that_outlives_the_cluster_is_waited_for(run):
    with written_for_a_while(run, "succeeded", 0):
        assert followed_to_the_cut(run) == RunOutcome("succeeded", 0)


class CutWhileItStops(Cut):
    """The same, which goes after it was asked to stop the job."""

    def tail(self, job):
        os.kill(os.getpid(), signal.SIGINT)
        yield event(event="stage", text="saving")
        yield from super().tail(job)

    def info(self, job):
        raise ClusterError("no Ray cluster answers at http://127.0.0.1:1: Connection refused")


def test_a_driver_that_saves_while_its_cluster_goes_has_the_last_word(run):
    display = LiveDisplay(Console(file=io.StringIO()))
    with written_for_a_while(run, "stopped", 3):
        found = follow_job(CutWhileItStops(), "r.1", run_id="r", follower=display, ask=lambda: True, run=run)
    assert found == RunOutcome("stopped", 3)


def test_a_run_that_went_with_its_cluster_is_lost_and_says_how_it_goes_on(run):
    run.update(status="running", attempt=1, exit_code=None)
    state = LocalClusterState.here()
    state.prepare()
    write_private(state.ended, json.dumps({"address": Cut.cluster.address, "reason": "it lost its raylet"}))
    lost = followed_to_the_cut(run)
    assert (lost.status, lost.exit_code) == ("lost", 1)
    assert lost.message == "the local Ray has ended: it lost its raylet"
    assert lost.summary == ("go on: gan-dist submit --resume r",)
    write_private(state.ended, json.dumps({"address": "http://127.0.0.1:2", "reason": "of another one"}))
    assert "was killed" in followed_to_the_cut(run).message


def test_a_task_without_a_folder_says_that_the_cluster_went():
    with pytest.raises(ClusterError, match="no Ray cluster answers"):
        followed_to_the_cut(None, "evaluate-20261129")


def test_logs_of_an_ended_run_end_as_it_did(run, cli):
    run.folder.write_json("request.json", {"run_id": "r", "job": {}})
    run.update(status="failed", attempt=1, exit_code=1, message="a nan", summary=[])
    assert cli("logs", "-f", run.uri)[0] == 1
    run.update(status="running", exit_code=None)
    code, _, told = cli("logs", "-f", run.uri)
    assert code == 1 and "lost" in told


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (640, "640"),
        (1024, "1.02k"),
        (999_999, "1000k"),
        (12_800, "12.8k"),
        (1_000_000, "1M"),
        (25e6, "25M"),
        (2e9, "2G"),
    ],
)
def test_counts(count, text):
    assert shorten(count) == text


def test_durations():
    assert [format_clock(s) for s in (7.4, 252, 7384, 273_600)] == ["0:07", "4:12", "2:03:04", "3 d 4 h"]


class Slow:
    """A job whose last lines Ray brings late: it would be told of first when it is all over."""

    cluster = Cluster("http://127.0.0.1:1", local=True)

    def __init__(self, last):
        self.printed = [event(event="stage", text="reading data"), progress(10_000, eta=0), last]

    def tail(self, job):
        yield self.printed[0]
        for _ in range(50):
            yield None
        yield from self.printed[1:]
        raise AssertionError("its end was not seen")

    def logs(self, job):
        return "\n".join(self.printed)


@pytest.mark.parametrize("stored_here", [True, False])
def test_a_run_that_is_stored_here_is_over_when_its_driver_has_left_it(run, stored_here, monkeypatch):
    last = event(event="end", status="succeeded", exit_code=0, message="", summary=["here"])
    file = io.StringIO()
    if not stored_here:
        monkeypatch.setattr(follow.ShownLog, "_has_ended_here", lambda self: False)
    with written_for_a_while(run, "succeeded", 0):
        display = LiveDisplay(Console(file=file, width=120))
        found = follow_job(Slow(last), "r.1", run_id="r", follower=display, ask=None, run=run)
        assert run.lease_holder() is None, "the next attempt would be refused"
    assert found == RunOutcome("succeeded", 0, "", ("here",))
    assert file.getvalue().count("10k / 10k") == 1 and file.getvalue().count("reading data") == 1


def test_a_run_that_was_refused_is_followed_until_ray_says_so(run):
    """Its folder is forgotten after its last word."""
    last = event(event="end", status="failed", exit_code=2, message="no such data", summary=[])
    with pytest.raises(AssertionError, match="its end was not seen"):
        follow_job(Slow(last), "r.1", run_id="r", follower=LiveDisplay(Console(file=io.StringIO())), ask=None, run=run)
