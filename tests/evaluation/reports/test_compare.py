"""`gan-dist compare`: what differs is shown, what does not is left out, and the report needs nothing around it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import gan_dist
from gan_dist.evaluation.reports.compare import differing_keys
from gan_dist.runs.run_folder import RunFolder
from gan_dist.spec.problems import flatten_keys
from tests.helpers import Cli

JOB = """
name: base
data: {source: digits, size: 8}
generator: {use: mlp, hidden: 8, layers: 1, z: 4}
discriminator: {use: mlp, hidden: 8, layers: 1}
objective: hinge
batch: 8
until: 4 steps
every: {report: 1 steps}
metrics: [{use: frechet, samples: 100}]
"""
TEXT = """
name: said
data: {modality: text, source: oracle, length: 6, vocabulary: 12, count: 64}
generator: {use: lstm, embedding: 4, hidden: 6}
objective: mle
batch: 16
until: 4 steps
every: {report: 1 steps}
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RunFolder]]:
    root = tmp_path_factory.mktemp("compare")
    (root / "images.yaml").write_text(JOB)
    (root / "text.yaml").write_text(TEXT)
    wanted = {
        "one": ("images", {}),
        "two": ("images", {"optimizer.lr": 0.01, "until": "6 steps"}),
        "said": ("text", {}),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_DIST_HOME", str(root / "home"))
        yield {
            name: gan_dist.train(root / f"{job}.yaml", **changes, storage=str(root / "runs")).folder
            for name, (job, changes) in wanted.items()
        }


@pytest.fixture
def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> Cli:
    monkeypatch.chdir(tmp_path)
    return partial(cli, "compare")


@pytest.mark.slow
def test_jobs_results_and_a_curve(runs: dict[str, RunFolder], compare, tmp_path: Path) -> None:
    code, out, err = compare(runs["one"].uri, runs["two"].uri, "--scalar", "loss/G", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["jobs"] == {"optimizer.lr": ["0.0002", "0.01"], "until": ["4 steps", "6 steps"]}
    assert found["results"]["samples seen"] == ["32", "48"]
    last = json.loads(runs["two"].folder.read("scalars.jsonl").splitlines()[-1])
    assert float(found["results"]["fd_random_100"][1]) == pytest.approx(last["metric/fd_random_100"], rel=1e-5)
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("names", "pictures"), [(("one", "two"), 3), (("said", "said"), 1)])
@pytest.mark.slow
def test_a_report_needs_nothing_around_it(
    runs: dict[str, RunFolder], compare, tmp_path: Path, names: tuple[str, ...], pictures: int
) -> None:
    code, _, err = compare(*(runs[name].uri for name in names), "--report", "report.html")
    assert code == 0, err
    text = (tmp_path / "report.html").read_text()
    sources = re.findall(r'src="([^"]{22})', text)
    assert sources == ["data:image/png;base64,"] * pictures
    assert "<script" not in text and "href=" not in text and "http" not in text
    shown = gan_dist.load(runs["said"]).sample(1, seed=0)[0]
    assert (shown in text) == ("said" in names)
    again = (*(runs[name].uri for name in names), "--report", "report.html")
    (tmp_path / "report.html").write_text("somebody's own")
    code, _, err = compare(*again)
    assert code == 2 and "--report 'report.html' is there already; choose another name, or --force" in err
    assert (tmp_path / "report.html").read_text() == "somebody's own" and not (tmp_path / "compare-2.png").exists()
    code, _, err = compare(*again, "--force")
    assert code == 0 and (tmp_path / "report.html").read_text() == text, err
    assert (tmp_path / "compare-2.png").is_file(), "a name that nobody asked for takes no other's place"


def test_faults_are_told_in_words(runs: dict[str, RunFolder], compare) -> None:
    code, _, err = compare(runs["one"].uri)
    assert code == 2 and "name two runs or more" in err
    code, _, err = compare(runs["one"].uri, runs["two"].uri, "--scalar", "loss/GG")
    assert code == 2 and "no run logged 'loss/GG'; did you mean 'loss/G'?" in err
    assert compare(runs["one"].uri, "no-such-run")[0] == 4


def test_only_what_differs_is_shown() -> None:
    one, two = (
        flatten_keys({"a": {"b": 1, "c": [1, {"d": 2}]}, "e": None}),
        flatten_keys({"a": {"b": 1, "c": [1]}, "e": None}),
    )
    assert one == {"a.b": 1, "a.c.0": 1, "a.c.1.d": 2, "e": None}
    assert differing_keys([one, two]) == {"a.c.1.d": ["2", "-"]}
