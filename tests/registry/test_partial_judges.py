"""A network that a run trained by is no judge of it."""

from __future__ import annotations

from typing import Any

import pytest

from gan_dist.errors import JobError
from gan_dist.launch.load_job import load_job
from gan_dist.registry.metric_names import partial_features
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


@pytest.mark.parametrize(
    ("features", "key", "refused"),
    [("efficientnet_lite0", "keep", True), ("efficientnet_lite0", "stop_when", True), ("random", "keep", False)],
)
def test_it_decides_nothing(features: str, key: str, refused: bool, tmp_path: Any) -> None:
    deciding = {"keep": {"best": 1, "metric": "fd"}, "stop_when": {"metric": "fd", "below": 1.0}}
    job = small(discriminator=PROJECTED, metrics=[{"use": "frechet", "features": features}], **{key: deciding[key]})
    (tmp_path / "job.yaml").write_text(job.model_dump_json(by_alias=True, exclude_unset=True))
    if not refused:
        load_job(tmp_path / "job.yaml")
        return
    with pytest.raises(JobError, match=rf"{key}\.metric: fd is by efficientnet_lite0, which this job trains by"):
        load_job(tmp_path / "job.yaml")
