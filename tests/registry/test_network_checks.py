"""What submit would refuse of networks is told by `validate`, from attributes that say what the classes do."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from gan_dist.errors import JobError
from gan_dist.launch.load_job import load_job
from gan_dist.registry.aliases import ALIASES
from gan_dist.registry.lookup import build_component
from gan_dist.registry.network_checks import has_batch_norm
from gan_dist.registry.signatures import read_signature
from gan_dist.registry.slots import ComponentSlot, component_slots
from tests.helpers import SMALL

DCGAN: dict[str, Any] = {
    **SMALL,
    "data": {"source": "digits", "size": 16},
    "generator": {"use": "dcgan", "width": 8},
    "discriminator": {"use": "dcgan", "width": 8},
}


@pytest.mark.parametrize(
    ("changes", "key", "told"),
    [
        ({"penalties": [{"use": "r1"}]}, "penalties[0].use", "give the discriminator `norm: none`"),
        ({"penalties": [{"use": "wgan_gp"}]}, "penalties[0].use", "whose batch normalisation makes samples depend"),
        ({"penalties": [{"use": "path_length"}]}, "penalties[0].use", "the generator 'dcgan', whose batch"),
        ({"standing": {"batches": 2}, "generator": {"use": "mlp"}}, "standing", "'mlp' has no batch normalisation"),
        ({"objective": {"use": "seqgan"}}, "objective[0].use", "'seqgan' is for text, but the data are images"),
        ({"data": {"source": "x", "size": 32, "channels": 4}, "discriminator": {"use": "projected"}}, "data.channels",
         "4, but discriminator 'projected' takes images of 1 or 3 channels"),
        ({"data": {"modality": "pair", "source": "x", "size": 16}, "augment": "diffaugment", "generator": "pix2pix",
          "discriminator": "pix2pix"}, "augment", "but data.modality is pair"),
    ],
)  # fmt: skip
def test_what_attributes_tell_is_refused_by_its_key(changes: dict[str, Any], key: str, told: str) -> None:
    with pytest.raises(JobError) as found:
        load_job({**DCGAN, **changes})
    (problem,) = (one for one in found.value.problems if one.key == key)
    assert told in problem.message


@pytest.mark.parametrize(
    "changes",
    [
        {"penalties": [{"use": "r1"}], "discriminator": {"use": "dcgan", "width": 8, "norm": "none"}},
        {"penalties": [{"use": "lecam"}]},
        {"standing": {"batches": 2}},
    ],
)
def test_what_goes_together_is_accepted(changes: dict[str, Any]) -> None:
    load_job({**DCGAN, **changes})


def test_a_penalty_that_no_stage_takes_forbids_nothing() -> None:
    job = {key: value for key, value in DCGAN.items() if key not in ("objective", "until")}
    stage = {"objective": "hinge", "for": "2 steps", "penalties": []}
    load_job({**job, "penalties": [{"use": "r1"}], "stages": [stage]})


def _built(kind: str, use: str) -> torch.nn.Module:
    provided = {"size": 32, "channels": 1, "classes": 0, "input_channels": 1}
    takes = {param.name: param for param in read_signature(ALIASES[kind][use]).params}  # type: ignore[index]
    arguments = {"weights": "random"} if "weights" in takes else {}
    with torch.device("meta"):
        built: torch.nn.Module = build_component(kind, use, arguments, provided)  # type: ignore[arg-type]
    return built


@pytest.mark.parametrize(
    ("kind", "use"),
    [
        (kind, use)
        for kind in ("generator", "discriminator")
        for use, target in ALIASES[kind].items()  # type: ignore[index]
        if ".image." in target
    ],
)
def test_classes_say_truly_whether_they_have_batch_normalisation(
    kind: str, use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms = [
        module for module in _built(kind, use).modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
    ]
    (slot,) = component_slots({kind: {"use": use}})
    assert isinstance(slot, ComponentSlot)
    assert has_batch_norm(slot, ()) == bool(norms)


def test_the_checks_import_no_torch() -> None:
    code = "import sys; from gan_dist.launch.load_job import load_job; load_job('jobs/dcgan.yaml')"
    code += "; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
