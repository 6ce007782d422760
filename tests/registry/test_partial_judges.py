"""A network that a run trained by is no judge of it."""

from __future__ import annotations

from typing import Any

import pytest

from gan_dist.errors import JobError
from gan_dist.launch.load_job import load_job
from gan_dist.registry.metric_names import partial_features
from tests.helpers import small

PROJECTED = {"use": "projected", "resolution": 64, "width": 4, "weights": "random"}
PERCEPTUAL = [{"use": "hinge"}, {"use": "perceptual", "backbone": "resnet50"}]


@pytest.mark.parametrize(
    ("changes", "partial"),
    [
        ({}, set()),
        ({"discriminator": PROJECTED}, {"efficientnet_lite0"}),
        ({"discriminator": {**PROJECTED, "backbone": "vgg16"}}, {"vgg16"}),
    ],
)
def test_the_backbone_of_a_job_is_known_by_its_name_or_default(changes: dict[str, Any], partial: set[str]) -> None:
    assert partial_features(small(**changes)) == partial


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
