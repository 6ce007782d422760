"""`gan-dist catalog`: complete, true to the sources, and without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from gan_dist.launch.load_job import load_job
from gan_dist.registry.catalog import catalog, shipped_jobs
from gan_dist.registry.lookup import ALIASES
from tests.helpers import ROOT

OURS_ALONE = {
    "memorised",
    "l2",
    "random",
    "classifier",
    "mle",
    "nll",
    "tokens",
    "pixels",
    "psnr",
    "apart",
    "class_accuracy",
}
OURS_ALONE |= {"language_model"}


def test_everything_is_in_it() -> None:
    wanted = [(kind, alias) for kind, aliases in ALIASES.items() for alias in aliases]
    assert [(one.kind, one.name) for one in catalog()] == wanted
    assert all(one.summary for one in catalog())


def test_all_but_our_own_name_a_paper() -> None:
    assert {one.name for one in catalog() if one.paper is None and one.kind != "tracker"} <= OURS_ALONE


def test_papers_parameters_and_jobs_are_those_of_the_sources() -> None:
    (r1,) = catalog("r1")
    assert r1.paper is not None and r1.paper.startswith("Mescheder, Geiger and Nowozin 2018, arXiv 1801.04406")
    assert [(param.name, param.default) for param in r1.params] == [("gamma", 10.0)]
    assert "dcgan-conditional.yaml" in r1.jobs
    (hinge,) = catalog("hinge")
    assert hinge.paper == "Lim and Ye 2017, arXiv 1705.02894"
    generator, discriminator = catalog("stylegan2")
    assert {param.name for param in generator.params} > {"truncation", "mixing"}, "what data decide is left out"
    assert not {"size", "channels", "classes"} & {param.name for param in (*generator.params, *discriminator.params)}


def test_a_kind_lists_its_components() -> None:
    assert {one.name for one in catalog("augment")} == {"ada", "diffaugment"}


@pytest.mark.slow
def test_jobs_that_are_named_use_it() -> None:
    named = {job for one in catalog("ada") for job in one.jobs}
    for path in shipped_jobs():
        assert (path.name in named) == (load_job(path).augment is not None and load_job(path).augment.use == "ada")  # type: ignore[union-attr]


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown component 'stylgan2'; did you mean 'stylegan2'"):
        catalog("stylgan2")


def run(*words: str) -> Any:
    code = f"import sys; sys.argv = ['gan-dist', 'catalog', *{list(words)}]\n"
    code += "from gan_dist.cli import app; app(standalone_mode=False); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_command_costs_no_torch_and_speaks_json() -> None:
    listed = json.loads(run("--json"))
    assert {one["name"] for one in listed} == {alias for aliases in ALIASES.values() for alias in aliases}
    (one,) = json.loads(run("dragan", "--json"))
    assert {param["name"]: param["default"] for param in one["parameters"]} == {
        "gamma": 10.0,
        "target": 1.0,
        "noise": 0.25,
    }


@pytest.mark.slow
def test_the_command_in_words() -> None:
    lines = run().splitlines()
    assert lines[0].split() == ["KIND", "NAME", "JOBS", "PAPER"] and any("stylegan2-ada.yaml" in line for line in lines)
    assert (
        "  start = 0: steps of D before which there is no term, and the means are those of the step before; 1000 in "
        "the authors' BigGAN." in run("lecam").splitlines()
    )
