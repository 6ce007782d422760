"""A metric's name says how it was measured, and what a job asks for is checked before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gan_dist.errors import JobError
from gan_dist.launch.load_job import load_job
from gan_dist.registry.metric_names import job_metric_names, metric_value_names, resolve_metric
from gan_dist.spec.sections import MetricSpec
from tests.helpers import small

OWN = """\
class Brightness:
    values = ("brightness", "contrast")
    needs = "rows"

    def __init__(self, *, power: float = 1.0, sharp: bool = False):
        raise SystemExit("a job is checked without running anybody's code")


class Silent:
    needs = "rows"


class Unclear:
    values = ("something",)
    needs = "pixels"
"""
JOB = """\
name: measured
data: {source: digits, size: 8}
generator: mlp
discriminator: mlp
objective: hinge
batch: 8
until: 4 steps
metrics:
  - frechet
  - {use: kid, samples: 1k}
"""


def metric(**written: Any) -> MetricSpec:
    return MetricSpec.model_validate(written)


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ({"use": "frechet"}, ["fd_random_5k"]),
        ({"use": "frechet", "features": "inception", "samples": "50k"}, ["fid_legacy"]),
        ({"use": "frechet", "features": {"use": "inception", "weights": "x.pth"}, "samples": 50_000}, ["fid_legacy"]),
        ({"use": "frechet", "features": {"use": "inception", "resize": "clean"}, "samples": "50k"}, ["fid_clean"]),
        (
            {
                "use": "frechet",
                "features": {"use": "inception", "resize": "clean", "checksum": "12345678"},
                "samples": "5k",
            },
            ["fd_inception-12345678-clean_5k"],
        ),
        ({"use": "frechet", "features": "inception", "samples": 10_000}, ["fd_inception-legacy_10k"]),
        ({"use": "frechet", "features": "classifier", "samples": 1797}, ["fd_classifier_1797"]),
        (
            {"use": "kid", "features": "inception", "samples": "50k"},
            ["kid_all_pairs_inception-legacy_50k", "kid_all_pairs_se_inception-legacy_50k"],
        ),
        ({"use": "prdc", "k": 5}, [f"{v}_random_5k" for v in ("precision", "recall", "density", "coverage")]),
        ({"use": "prdc", "k": 3}, [f"{v}_random_5k_k3" for v in ("precision", "recall", "density", "coverage")]),
    ],
)
def test_names_carry_the_protocol(written: dict[str, Any], names: list[str]) -> None:
    assert list(metric_value_names(metric(**written))) == names


def test_what_is_not_compared_with_the_training_set_says_so() -> None:
    inception = metric(use="frechet", features="inception", samples="50k")
    assert list(metric_value_names(inception, against="photos")) == ["fd_inception-legacy_50k_vs_photos"]


def test_fid_in_a_job_is_the_one_that_it_measures() -> None:
    names = job_metric_names(
        small(metrics=[{"use": "frechet", "features": {"use": "inception", "resize": "clean"}, "samples": "50k"}])
    )
    assert resolve_metric("fid", names) == "fid_clean"


def test_names_of_an_own_metric_come_from_its_source(tmp_path: Path) -> None:
    (tmp_path / "their.py").write_text(OWN)
    own = metric(use="their:Brightness", samples=500, power=2, sharp=True)
    assert list(metric_value_names(own, [tmp_path])) == [
        "brightness_random_500_power2_sharpTrue",
        "contrast_random_500_power2_sharpTrue",
    ]
    with pytest.raises(ValueError, match="'their:Silent' does not say what it gives; its class needs values"):
        metric_value_names(metric(use="their:Silent"), [tmp_path])
    with pytest.raises(ValueError, match="'their:Unclear' does not say what it gets; its class needs needs"):
        metric_value_names(metric(use="their:Unclear"), [tmp_path])


def test_short_names() -> None:
    names = job_metric_names(small(metrics=["frechet", "kid", {"use": "frechet", "samples": "1k"}]))
    assert list(names) == ["fd_random_5k", "kid_all_pairs_random_5k", "kid_all_pairs_se_random_5k", "fd_random_1k"]
    assert (
        resolve_metric("kid", names) == "kid_all_pairs_random_5k"
        and resolve_metric("fd_random_1k", names) == "fd_random_1k"
    )
    assert resolve_metric("kid_all_pairs_se", names) == "kid_all_pairs_se_random_5k"
    with pytest.raises(ValueError, match="'fd' may be fd_random_5k or fd_random_1k; give the whole name"):
        resolve_metric("fd", names)
    with pytest.raises(ValueError, match="unknown metric 'fd_random_5'; did you mean 'fd_random_5k'"):
        resolve_metric("fd_random_5", names)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("metrics.0=freche", "metrics[0].use: unknown metric 'freche'; did you mean 'frechet'?"),
        ("metrics.0={use: frechet, features: radnom}", "unknown extractor 'radnom'; did you mean 'random'?"),
        ("metrics.1={use: prdc, neighbours: 3}", "metrics[1].neighbours: unknown key (allowed: k)"),
        ("metrics.1={use: kid, samples: 2 epochs}", "'2 epochs' must be a number of samples, such as 5000 or 5k"),
        ("metrics.1=frechet", "metrics[1]: measures fd_random_5k once more; remove one of the two"),
        (
            "metrics.1={use: kid, features: classifier}",
            "'classifier' learns from classes; set data.labels, or use random",
        ),
        ("metrics.1=class_frechet", "metrics[1].use: 'class_frechet' compares class by class; set data.labels"),
        ("stop_when={metric: fdd, below: 3}", "stop_when.metric: unknown metric 'fdd'"),
        (
            "stop_when={metric: fid, below: 3}",
            "unknown metric 'fid'; did you mean 'fd'? (allowed: fd_random_5k, kid_all_pairs_random_1k, ",
        ),
        ("stop_when={metric: fd}", "give either `below` or `above`"),
        ("stop_when={metric: fd, below: 1, above: 2}", "give either `below` or `above`"),
        (
            "keep={best: 1, metric: fd_radnom_5k}",
            "keep.metric: unknown metric 'fd_radnom_5k'; did you mean 'fd_random_5k'?",
        ),
    ],
)
def test_faults_are_named(override: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    with pytest.raises(JobError) as error:
        load_job(tmp_path / "job.yaml", [override])
    assert message in str(error.value)


@pytest.mark.parametrize("override", ["stop_when={metric: fd, below: 3}", "keep={best: 1, metric: loss/D}"])
def test_short_names_and_logged_numbers_are_right(override: str, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    spec = load_job(tmp_path / "job.yaml", [override])
    assert type(spec).model_validate_json(spec.model_dump_json(by_alias=True)) == spec
