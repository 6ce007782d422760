"""A network that a run trained by is no judge of it."""

from __future__ import annotations

from typing import Any

import pytest

from gan_dist.errors import JobError
from gan_dist.evaluation.reports.results import _partial
from gan_dist.launch.load_job import load_job
from gan_dist.registry.metric_names import partial_features, partial_judge
from gan_dist.spec.sections import MetricSpec
from tests.helpers import small

PROJECTED = {"use": "projected", "resolution": 64, "width": 4, "weights": "random"}
TAUGHT = [{"use": "multi_level"}, {"use": "distillation"}]
PERCEPTUAL = [{"use": "hinge"}, {"use": "perceptual", "backbone": "resnet50"}]


@pytest.mark.parametrize(
    ("changes", "partial"),
    [
        ({}, set()),
        ({"discriminator": PROJECTED}, {"efficientnet_lite0"}),
        ({"discriminator": {**PROJECTED, "backbone": "vgg16"}}, {"vgg16"}),
        ({"objective": PERCEPTUAL}, {"resnet50"}),
        ({"objective": TAUGHT}, {"dinov2"}),
        ({"objective": [{"use": "hinge"}, {"use": "reconstruction"}]}, set()),
        ({"objective": [{"use": "hinge"}, {"use": "reconstruction", "distance": "perceptual"}]}, {"vgg16"}),
        ({"objective": [{"use": "autoencoder"}]}, set()),
        ({"objective": [{"use": "autoencoder", "perceptual": 1}]}, {"efficientnet_lite0"}),
        ({"objective": [TAUGHT[0], {**TAUGHT[1], "teacher": "efficientnet_lite0"}]}, {"efficientnet_lite0"}),
    ],
)
def test_the_backbone_of_a_job_is_known_by_its_name_or_default(changes: dict[str, Any], partial: set[str]) -> None:
    assert partial_features(small(**changes)) == partial


def test_a_teacher_decides_nothing(tmp_path: Any) -> None:
    judged = {"metrics": [{"use": "frechet", "features": "dinov2"}], "keep": {"best": 1, "metric": "fd"}}
    job = small(objective=TAUGHT, **judged)
    (tmp_path / "job.yaml").write_text(job.model_dump_json(by_alias=True, exclude_unset=True))
    with pytest.raises(JobError, match=r"keep\.metric: fd is by dinov2, which this job trains by, and no judge of it"):
        load_job(tmp_path / "job.yaml")


LITE0 = {"use": "frechet", "features": "efficientnet_lite0"}
KID = {"use": "kid", "features": "efficientnet_lite0"}
FAIR = {"use": "frechet", "features": "random"}


@pytest.mark.parametrize(
    ("metrics", "asked", "refused"),
    [
        ([LITE0], "fd", True),
        ([LITE0], "fd_efficientnet_lite0", True),
        ([LITE0], "fd_efficientnet_lite0_5k", True),
        ([KID], "kid", True),
        ([KID], "kid_all_pairs_eff", False),  # no beginning of its name up to a "_": told as unknown
        ([{"use": "prdc", "features": "efficientnet_lite0"}], "precision", True),
        ([FAIR], "fd", False),
        ([LITE0, FAIR], "fd_random", False),
        ([LITE0, FAIR], "fd_efficientnet_lite0", True),
    ],
)
@pytest.mark.parametrize("key", ["keep", "stop_when"])
def test_it_decides_nothing_by_whatever_name(
    metrics: list[dict[str, Any]], asked: str, refused: bool, key: str, tmp_path: Any
) -> None:
    deciding = {"keep": {"best": 1, "metric": asked}, "stop_when": {"metric": asked, "below": 1.0}}
    names = [asked, f"metric/{asked}"] if key == "keep" and refused else [asked]
    for name in names:
        rule = {**deciding[key], "metric": name}
        job = small(discriminator=PROJECTED, metrics=metrics, **{key: rule})
        (tmp_path / "job.yaml").write_text(job.model_dump_json(by_alias=True, exclude_unset=True))
        told = ""
        try:
            load_job(tmp_path / "job.yaml")
        except JobError as error:
            told = str(error)
        assert (f"{key}.metric: {name} is by efficientnet_lite0, which this job trains by" in told) == refused


def test_results_and_comparisons_mark_it_by_its_exact_name() -> None:
    assert list(_partial(small(discriminator=PROJECTED, metrics=[LITE0, FAIR]))) == ["fd_efficientnet_lite0_5k"]


@pytest.mark.parametrize(("net", "judge"), [("alex", None), ("vgg16", "vgg16")])
def test_a_network_within_features_is_the_same_judge(net: str, judge: str | None) -> None:
    metric = MetricSpec.model_validate({"use": "kid", "features": {"use": "lpips", "net": net}})
    assert partial_judge(metric, {"vgg16"}) == judge
