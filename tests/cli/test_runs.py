"""The commands around runs, on run folders of which no cluster knows."""

import json
import os
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch

from gan_dist.cli import options
from gan_dist.runs import checkpoint
from gan_dist.runs.index import remember_run
from gan_dist.runs.lease import take
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from tests.helpers import ROOT


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GAN_DIST_STORAGE", str(tmp_path / "runs"))
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stored(home, name, **status):
    run = RunFolder(Folder.at(home / "runs" / name))
    run.folder.write_json("request.json", {"run_id": run.id, "job": {}})
    run.update(**({"status": "succeeded", "seen": 20_000, "until": 20_000, "attempt": 1} | status))
    run.folder.write("logs/attempt-1.log", b'2026 from Ray\n@gan-dist {"event": "stage", "text": "reading"}\nhi\n')
    remember_run(run, attempt=1)
    return run


def test_import_is_light():
    heavy = ("torch", "ray", "pydantic", "ruamel", "pyarrow", "numpy", "aiohttp")
    code = f"import sys, gan_dist.cli; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert found.stdout.strip() == "[]"


def test_list_status_logs_delete(cli, home):
    run = stored(home, "a-1")
    code, out, _ = cli("list")
    (row,) = out.splitlines()[1:]
    assert code == 0 and re.fullmatch(rf"a-1 +succeeded +20k / 20k +\d+ s ago +- +{re.escape(run.uri)}", row.strip())
    assert json.loads(cli("list", "--json")[1])[0]["id"] == "a-1"
    assert "status   succeeded\nseen     20k / 20k\n" in cli("status", "a-")[1]
    assert cli("logs", "last")[1] == "2026 from Ray\nreading ...\nhi\n"
    assert cli("logs", "last", "--raw")[1].splitlines()[1].startswith("@gan-dist {")
    code, out, err = cli("delete", "a-1")
    assert code == 1 and run.uri in out and "--yes" in err and run.folder.exists("request.json")
    code, out, _ = cli("delete", "a-1", "--yes", "--json")
    assert code == 0 and json.loads(out)["deleted"] and not (home / "runs/a-1").exists()
    assert cli("list")[1].startswith("no runs yet")


def ids(out):
    return [line.split()[0] for line in out.splitlines()[1:]]


@pytest.fixture
def several(home):
    now = time.time()
    for name, age, status, seen in (
        ("cats-1", 100, "failed", 5),
        ("dogs-1", 7200, "succeeded", 9),
        ("dogs-2", 90_000, "stopped", 1),
    ):
        stored(home, name, status=status, seen=seen, started=now - age)
    return home


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), ["cats-1", "dogs-1", "dogs-2"]),
        (("--status", "failed"), ["cats-1"]),
        (("--status", "stopped", "--status", "succeeded"), ["dogs-1", "dogs-2"]),
        (("--name", "dog"), ["dogs-1", "dogs-2"]),
        (("--name", "*-1"), ["cats-1", "dogs-1"]),
        (("--since", "90min"), ["cats-1"]),
        (("--since", "3h"), ["cats-1", "dogs-1"]),
        (("--since", "2001-01-01"), ["cats-1", "dogs-1", "dogs-2"]),
        (("--limit", "2"), ["cats-1", "dogs-1"]),
        (("--sort", "name", "--limit", "1"), ["cats-1"]),
        (("--sort", "seen"), ["dogs-1", "cats-1", "dogs-2"]),
        (("--sort", "status"), ["dogs-1", "dogs-2", "cats-1"]),
        (("--name", "fish"), []),
    ],
)
def test_list_finds(cli, several, words, found):
    code, out, _ = cli("list", *words)
    assert code == 0 and ids(out) == found
    assert [row["id"] for row in json.loads(cli("list", *words, "--json")[1])] == found


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--status", "fail"), "--status 'fail'; did you mean 'failed'?"),
        (("--sort", "names"), "--sort 'names'; did you mean 'name'?"),
        (("--since", "yesterday"), "--since 'yesterday' is neither an age, as 12h or 3d, nor a date"),
    ],
)
def test_a_wrong_filter_is_named(cli, several, words, message):
    code, _, err = cli("list", *words)
    assert code == 2 and message in err


def test_a_storage_shows_what_lies_there_and_nothing_else(cli, several):
    other = several / "other"
    RunFolder(Folder.at(other / "fish-1")).folder.write_json("request.json", {"run_id": "fish-1", "job": {}})
    assert ids(cli("list", "--storage", other)[1]) == ["fish-1"]
    assert "fish-1" not in cli("list")[1]
    assert cli("list", "--storage", several / "nothing")[1].startswith("no runs yet")


def test_runs_are_found_by_label_and_owner(cli, home):
    stored(home, "a-1", owner="ada", labels={"team": "vision", "paper": "1"})
    stored(home, "b-1", owner="bob", labels={"team": "vision"})
    stored(home, "c-1", owner="ada")
    for words, found in (
        (("--label", "team=vision"), {"a-1", "b-1"}),
        (("--label", "team=vision", "--label", "paper=1"), {"a-1"}),
        (("--owner", "ada"), {"a-1", "c-1"}),
        (("--label", "team=text"), set()),
    ):
        code, out, _ = cli("list", *words, "--json")
        assert code == 0 and {row["id"] for row in json.loads(out)} == found
    code, _, err = cli("list", "--label", "vision")
    assert code == 2 and "--label 'vision' is no KEY=VALUE, such as team=vision" in err


def test_a_cluster_lists_the_runs_of_everybody(cli, home, monkeypatch):
    here = stored(home, "mine-1", owner="ada", seen=5)

    def told(run, uri, owner="ada"):
        return {"gan_dist_run": run, "gan_dist_uri": uri, "gan_dist_owner": owner}

    jobs = [
        {"status": "FAILED", "start_time": 1000, "submission_id": "mine-1.1", "metadata": told("mine-1", here.uri)},
        {"status": "RUNNING", "start_time": 3000, "submission_id": "b.1", "metadata": told("b", "/away/b", "bob")},
        {"status": "RUNNING", "start_time": 2000, "submission_id": "mine-1.2", "metadata": told("mine-1", here.uri)},
        {"status": "RUNNING", "start_time": 2500, "submission_id": "task", "metadata": {"gan_dist_task": "evaluate"}},
        {"status": "RUNNING", "start_time": 2600, "submission_id": "other", "metadata": None},
    ]
    monkeypatch.setattr("gan_dist.launch.cluster.jobs_api.JobsClient.list", lambda self: jobs)
    code, out, err = cli("list", "--address", "http://head:8265", "--json")
    mine, theirs = sorted(json.loads(out), key=lambda row: row["id"], reverse=True)
    assert code == 0 and (mine["submission"], mine["status"], mine["seen"]) == ("mine-1.2", "succeeded", 5), err
    assert (theirs["status"], theirs["owner"], theirs["reachable"], theirs["seen"]) == ("running", "bob", False, None)
    code, out, _ = cli("list", "--address", "http://head:8265", "--owner", "bob")
    assert "/away/b (not reachable from here)" in out and "mine-1" not in out
    assert cli("list", "--address", "http://head:8265", "--storage", "runs")[0] == 2


def test_last_passes_over_rehearsals_and_says_so(cli, home):
    run = stored(home, "try-1")
    run.folder.write_json("request.json", {"run_id": run.id, "job": {}, "mode": "smoke"})
    code, _, err = cli("status", "last")
    assert code == 4 and "no run yet but rehearsals and trials, which `last` passes over" in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("status", "nothing", "--json"), 4, "no run 'nothing'"),
        (("list", "--json", "--limit", "x"), 2, "--limit"),
        (("list", "--json", "--sort", "names"), 2, "--sort 'names'"),
        (("submit", "missing.yaml", "--json"), 2, "missing.yaml"),
    ],
)
def test_an_error_is_one_json_document_too(cli, home, words, code, message):
    found, out, _ = cli(*words)
    told = json.loads(out)["error"]
    assert found == code == told["code"] and message in told["message"]


def test_the_problems_of_a_job_are_listed_with_suggestions(cli, home):
    (home / "job.yaml").write_text("version: 1\nname: a\ndta: {source: digits}\n")
    problems = json.loads(cli("submit", "job.yaml", "--json")[1])["error"]["problems"]
    first = next(one for one in problems if one["key"] == "dta")
    assert first["line"] == 3 and first["suggestion"] == "data" and first["file"].endswith("job.yaml")
    (report,) = json.loads(cli("validate", "job.yaml", "--json")[1])
    assert [one["key"] for one in report["problems"]] == [one["key"] for one in problems]


def test_a_run_whose_driver_and_cluster_are_gone(cli, home):
    stored(home, "gone", status="running")
    code, out, _ = cli("status", "gone")
    assert code == 0 and "status   lost" in out and "gan-dist submit --resume gone" in out
    assert cli("stop", "gone")[:2] == (0, "run gone has ended already: lost\n")


def test_one_of_which_nothing_was_stored_is_forgotten(cli, home):
    remember_run(RunFolder(Folder.at(home / "runs" / "never")), created=1.0)
    code, _, err = cli("delete", "never", "--yes")
    assert code == 0, err
    assert cli("status", "never")[0] == 4


def test_a_running_one_is_not_deleted(cli, home):
    take(stored(home, "here", status="running").folder, 1)
    code, _, err = cli("delete", "here", "--yes")
    assert code == 2 and err == "error: run here is running; stop it first: gan-dist stop here\n"
    code, _, err = cli("stop", "here")
    assert code == 2 and f"process {os.getpid()}" in err


@pytest.mark.parametrize("command", ["status", "logs", "stop", "delete", "tensorboard"])
def test_unknown_run(cli, command):
    code, _, err = cli(command, "nope")
    assert code == 4 and err.startswith("error: no run 'nope'") and err.count("\n") == 1


def test_wrong_requests(cli):
    assert cli("submit")[0] == 2
    assert cli("submit", "a.yaml", "--resume", "b")[0] == 2
    assert cli("submit", "--resume", "b", "--name", "c")[0] == 2
    assert cli("submit", "nowhere.yaml")[0] == 2
    code, _, err = cli("submit", "--bogus")
    assert code == 2 and "No such option" in err and "--bogus" in err  # how, is the click at hand
    assert cli("dashboard")[0] == 5
    assert cli("down")[:2] == (0, "no local Ray of ours runs\n")


META = {"clock": {"seen": 64, "reals_drawn": 64}, "metrics": {}, "data": {}, "job": {}}


def test_what_may_be_taken_from_another_run(cli, home):
    networks = {"generator": {"weight": torch.ones(2)}}
    folder = checkpoint.write(
        stored(home, "one").checkpoints(), "000000000064-a1", networks=networks, training={}, meta=META
    ).folder.uri
    source, job = str(home / "runs/one/checkpoints/000000000064-a1"), str(ROOT / "jobs/mlp.yaml")

    def told(*words):
        code, out, err = cli("submit", job, "--dry-run", *words)
        return json.loads(out)["request"]["start_from"] if code == 0 else (code, err)

    assert told("--from", source) == told("--from", "one") == {"folder": folder, "only": []}
    assert told("--from", source, "--only", "generator") == {"folder": folder, "only": ["generator"]}
    code, err = told("--from", source, "--only", "generater")
    assert code == 2 and "--only: 'generater' is no network of this job; did you mean 'generator'?" in err
    code, err = told("--from", source, "--only", "discriminator")
    assert code == 2 and f"--only: {folder} has no discriminator" in err
    code, err = told("--only", "generator")
    assert code == 2 and "add --from RUN" in err
    code, err = told("--from", source, "-o", "sweep={space: {optimizer.lr: {grid: [1e-4]}}, metric: loss/D}")
    assert code == 2 and "--from: the trials of a sweep begin from nothing" in err


@pytest.mark.slow
def test_words_are_utf_8_in_a_locale_without_an_encoding(tmp_path):
    words = ["submit", str(ROOT / "jobs/mlp.yaml"), "--dry-run", "--json", "-o", "storage=läufe"]
    start = [sys.executable, "-c", f"import sys; sys.path[0] = {str(ROOT)!r}; from gan_dist.cli import main; main()"]
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "GAN_DIST_HOME": str(tmp_path / "home")}
    done = subprocess.run([*start, *words], cwd=tmp_path, env={**os.environ, **plain}, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["job"]["storage"] == "läufe"


def test_unreachable_cluster_starts_nothing(cli):
    job = str(ROOT / "jobs/mlp.yaml")
    code, out, err = cli("submit", job, "--address", "http://127.0.0.1:9")
    assert (code, out) == (5, "") and err.startswith("error: no Ray cluster answers at http://127.0.0.1:9")
    assert cli("list")[1].startswith("no runs yet")


def test_dry_run_shows_what_is_sent(cli, home, monkeypatch):
    monkeypatch.setenv("SECRET", "do not show")
    code, out, _ = cli(
        "submit", str(ROOT / "jobs/mlp.yaml"), "--dry-run", "-o", "environment.env=[SECRET]", "--name", "x"
    )
    sent = json.loads(out)
    assert code == 0 and "do not show" not in out
    assert sent["uri"] == str(home / "runs/x") and sent["job"]["batch"] == 64
    assert sent["runtime_env"]["env_vars"]["SECRET"] == "(copied from here)"
    assert not (home / "runs").exists()


def test_same_name_twice(cli, home):
    stored(home, "mine")
    code, _, err = cli("submit", str(ROOT / "jobs/mlp.yaml"), "--name", "mine")
    assert code == 2 and "a run named 'mine' exists" in err


def test_a_defect_shows_no_traceback(cli, home, monkeypatch):
    def broken(*_):
        raise KeyError("inside")

    monkeypatch.setattr("gan_dist.launch.run_status.known_runs", broken)
    code, _, err = cli("list")
    assert code == 1 and "Traceback" not in err and "crash.txt" in err
    assert "Traceback" in (home / "home/crash.txt").read_text()


def test_completion(home):
    stored(home, "dcgan-1")
    stored(home, "mlp-1")
    assert list(options.complete_run("dc")) == [("dcgan-1", "")]
    assert ("last", "the newest run") in list(options.complete_run(""))
    (home / "jobs").mkdir()
    (home / "jobs/a.yaml").touch()
    (home / "jobs/b.txt").touch()
    assert list(options.complete_job("jo")) == ["jobs/"]
    assert list(options.complete_job("jobs/")) == ["jobs/a.yaml"]


def test_a_dry_run_builds_the_networks_and_makes_nothing(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = str(ROOT / "jobs/dcgan.yaml")
    code, out, err = cli("submit", job, "--dry-run", "--local", "-o", "generator.width=1024")
    assert code == 0 and json.loads(out)["missing"] == [], err
    code, _, err = cli("submit", job, "--dry-run", "--local", "-o", "generator.width=0")
    assert code == 2 and "dcgan needs width >= 1, not 0" in err
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        raise ValueError('no')\n"
    )
    own = ("submit", job, "--dry-run", "--local", "-o", "generator={use: 'mine:Net'}")
    assert cli(*own)[0] == 0  # which is not called where nobody names its folder
    code, _, err = cli(*own, "--code", str(tmp_path))
    assert code == 2 and "generator 'mine:Net': no" in err
    assert not (tmp_path / "runs").exists()


def test_a_warning_of_ours_is_told_in_words(cli, monkeypatch):
    def warned(*_):
        warnings.warn("checkpoint x is damaged", stacklevel=1)
        warnings.warn_explicit("of a library", UserWarning, "/lib/other.py", 7)
        return []

    monkeypatch.setattr("gan_dist.launch.run_status.known_runs", warned)
    monkeypatch.setattr("gan_dist.cli.OURS", str(Path(__file__).parent))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        _, _, told = cli("list")
    assert "warning: checkpoint x is damaged\n" in told and "/lib/other.py:7: UserWarning: of a library" in told
