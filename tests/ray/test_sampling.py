"""Samples that a cluster's workers make are those of one process, byte for byte, and so is what they find of them.
A cluster encodes data too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.ray.conftest import Site

pytestmark = pytest.mark.ray


def test_workers_make_what_one_process_makes(site: Site) -> None:
    job = str(ROOT / "jobs" / "dcgan.yaml")
    trained = site.run("submit", job, "--local", "-o", "until=20 steps", "--name", "sampled")
    assert trained.returncode == 0, trained.stdout + trained.stderr
    for name, more in (("here.zip", ()), ("there.zip", ("--workers", "2"))):
        done = site.run("sample", "sampled", "--n", "3000", "--seed", "4", "--out", name, *more)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (site.root / "here.zip").read_bytes() == (site.root / "there.zip").read_bytes()
    assert not list(site.root.glob(".there.zip*"))


def test_a_class_that_is_not_there_is_refused_before_a_job_is_sent(site: Site) -> None:
    done = site.run("sample", "sampled", "--class", "7", "--out", "never.zip", "--workers", "2")
    assert done.returncode == 2 and "it is not class-conditional" in done.stderr
    assert not list(site.root.glob("*never*"))


def test_workers_find_what_one_process_finds(site: Site) -> None:
    asked = ("evaluate", "sampled", "--metric", "fd", "--metric", "kid", "--n", "1500", "--json")
    here, there = site.run(*asked), site.run(*asked, "--workers", "2")
    assert here.returncode == there.returncode == 0, there.stdout + there.stderr
    one, two = json.loads(here.stdout), json.loads(there.stdout)
    assert one.pop("metrics") == pytest.approx(two.pop("metrics"), rel=1e-9)
    # Two halves of the data are so near that what is left of their moments' difference is rounding from 1e-7 on.
    assert one.pop("real") == pytest.approx(two.pop("real"), rel=1e-5) and one == two
    assert not list((site.root / "runs" / ".evaluations").iterdir())


def test_a_question_without_an_answer_is_refused_before_a_job_is_sent(site: Site) -> None:
    done = site.run("evaluate", "sampled", "--metric", "fid5", "--workers", "2")
    assert done.returncode == 2 and "error: unknown metric 'fid5'; did you mean 'fid'" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_workers_prepare_what_one_process_prepares(site: Site) -> None:
    asked = ("--size", "8", "--labels", "source", "--json")
    here = site.run("prepare", "digits", "here", *asked)
    there = site.run("prepare", "digits", "there", *asked, "--workers", "2")
    assert here.returncode == there.returncode == 0, there.stdout + there.stderr
    one, two = json.loads(here.stdout), json.loads(there.stdout)
    assert one.pop("folder") != two.pop("folder") and one == two
    shards = sorted(path.name for path in (site.root / "here").glob("shard-*"))
    assert shards == sorted(path.name for path in (site.root / "there").glob("shard-*"))
    for name in shards:
        assert (site.root / "here" / name).read_bytes() == (site.root / "there" / name).read_bytes()
    missing = site.run("prepare", "nowhere", "never", "--workers", "2")
    assert missing.returncode == 2 and "did not prepare: data.source:" in missing.stderr
    assert not (site.root / "never").exists()


def test_latents_are_made_on_ray_by_a_persons_own_autoencoder_and_a_tracker_is_told(site: Site) -> None:
    networks = [f"{key}={{use: mlp, hidden: 8, layers: 1}}" for key in ("generator", "discriminator")]
    told = site.root / "told"
    changes = ["data.encode={use: squares:Squares}", *networks, "objective=hinge", "ema=null", "until=4 steps"]
    changes.append(f"trackers=[{{use: 'board:Board', file: '{told}'}}]")
    words = [word for change in changes for word in ("-o", change)]
    trained = site.run("submit", str(Path(__file__).with_name("job.yaml")), "--name", "latent", *words)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert "images of 16x16 grey as latents of 4x8x8" in trained.stdout
    assert site.checkpoints("latent")[-1]["data"]["codec_record"]["use"] == "squares:Squares"
    lines = told.read_text().splitlines()
    assert lines[0] == "ray::RayTrainWorker begin latent" and lines[-1] == "ray::RayTrainWorker finish True"
    assert {"ray::RayTrainWorker scalars 256", "ray::RayTrainWorker samples 256"} <= set(lines)
    made = site.run("sample", "latent", "--n", "3", "--out", "made")
    assert made.returncode == 0 and len(list((site.root / "made").rglob("*.png"))) == 3, made.stdout + made.stderr
