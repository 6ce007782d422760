"""Imports go down one list, never up and never in a circle; files and functions stay small; the command starts fast."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "gan_dist"
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 260, 60

# Each module may import those after it. Whoever adds a module decides here where it belongs.
ROWS = """
cli cli.job_commands cli.data_commands cli.sample_command cli.evaluate_command cli.orders cli.submit_command
cli.model_commands cli.export_command cli.compare_command cli.cluster_commands cli.spec_commands
cli.sweep_words cli.options cli.output

standing board report compare export card programs results launch twin submit attend follow
keeper cluster jobs_api tail local_cluster packaging
job_schema catalog recipes text_recipes survey testing kinds augment_trial testbench

driver sampling_on_ray evaluating_on_ray preparing_on_ray ray_order sweeps.tuning sweeps.tune_trial sweeps.orphans
conduct reading desk ray_worker ray_group rendezvous resources
gan_dist evaluate asked question held_back neighbours text_file subjects image_folder temperatures plots walks
delivery remade sampling forms api exported
sweeps.here sweeps.conduct sweeps.page sweeps.plots sweeps.report sweeps.trial sweeps.board sweeps.search sweeps.tpe
local smoke preflight text_preflight augment_preflight attempt logs events request resume jobfile
sweeps sweeps.candidates sweeps.ranking sweeps.ledger sweeps.population sweeps.halving sweeps.median
sweeps.pareto sweeps.history sweeps.draw

worker tasks judged measuring fitted adding_up wanted journal grids batchnorm pairs samples collapse microbatch
loop
build state adam stats feed ema stages runtime recorded recording reduction schedule runs checkpoint mirror start
page modalities modalities.image modalities.pair modalities.text
data data.on_ray data.processes data.ingest data.choice data.prepare data.given data.shards data.sources data.pairs
data.corpus data.archives data.files data.arrays data.tables data.torchvision_sets data.digits data.standin
data.facts data.held_out data.split data.oracle data.text_files data.sentences data.reaching data.source data.tokens
data.images data.weighted data.errors data.order storage remote walk versions

objectives objectives.seqgan objectives.scratchgan objectives.rewards objectives.mle
objectives.feature_matching objectives.reconstruction objectives.rebuilding objectives.perceptual objectives.auxiliary
objectives.vae
objectives.wasserstein objectives.relativistic objectives.adversarial
penalties penalties.path_length penalties.lecam penalties.bcr penalties.orthogonal penalties.output_l2
penalties.dragan penalties.wgan_gp penalties.r2 penalties.r1
augment augment.ada augment.diffaugment augment.applied augment.colour augment.resample augment.pixels
metrics metrics.classifier metrics.class_frechet metrics.class_score metrics.memorised metrics.diversity metrics.pairs
metrics.frechet metrics.kid metrics.prdc metrics.random_network
metrics.inception metrics.vgg16 metrics.resnet50 metrics.clip metrics.dinov2 metrics.lpips
metrics.resized metrics.weights
metrics.bleu metrics.repetition metrics.likelihood metrics.lm_score metrics.language_model
metrics.class_accuracy metrics.sentence_encoder
metrics.text_classifier metrics.fitting metrics.references metrics.ngrams metrics.tokens
metrics.names metrics.moments
networks networks.pix2pix networks.biggan networks.sagan networks.attention networks.projected networks.pretrained
networks.downloads networks.fastgan networks.stylegan2 networks.vae networks.modulated networks.equalised
networks.r3gan networks.sngan networks.dcgan networks.mlp networks.resample networks.spectral networks.shapes
networks.rmc networks.lstm networks.transformer networks.pretrained_lm
networks.pretrained_encoder networks.local_models networks.multirep networks.textcnn networks.textlstm networks.charcnn
networks.autoregressive
contracts randomness

components by_data aliases
spec spec.check spec.signatures spec.source spec.job spec.data spec.data_fields spec.sweep spec.goals spec.space
spec.slots spec.sections spec.rules spec.optimizer spec.merge spec.yaml spec.fields spec.arguments spec.schedules
spec.amounts spec.errors
"""
ORDER = ROWS.split()
MAY_USE_RAY = {"driver", "conduct", "ray_worker", "rendezvous", "data.on_ray", "keeper", "submit"}
MAY_USE_RAY |= {"sweeps.tuning", "sweeps.tune_trial", "sweeps.orphans", "ray_group", "ray_order"}
MAY_USE_RAY |= {"sampling_on_ray", "evaluating_on_ray"}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "gan_dist"


FILES = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imported(path: Path) -> Iterator[str]:
    """Modules of ours that a file imports, also inside functions and for types only."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] == "gan_dist":
                yield _known(name.removeprefix("gan_dist").lstrip("."))


def _known(name: str) -> str:
    """A module, or the module in which a name lies."""
    return name if name in FILES else name.rpartition(".")[0] or "gan_dist"


def test_every_module_has_its_place() -> None:
    assert sorted(ORDER) == sorted(FILES)


@pytest.mark.parametrize("module", FILES)
def test_imports_go_down(module: str) -> None:
    place = {name: number for number, name in enumerate(ORDER)}
    up = [other for other in imported(FILES[module]) if other != module and place[other] < place[module]]
    assert not up, f"{module} imports {up}, which lie above it"


def test_the_reader_of_imports_sees_them() -> None:
    assert "checkpoint" in set(imported(FILES["worker"])), "from gan_dist import checkpoint"
    assert "follow" in set(imported(FILES["cli.submit_command"])), "inside functions"


@pytest.mark.parametrize("module", ["gan_dist.cli", "gan_dist"])
def test_importing_the_command_line_costs_nothing_heavy(module: str) -> None:
    heavy = ("torch", "ray", "pydantic", "pyarrow", "numpy", "PIL", "sklearn")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert done.stdout.strip() == "[]"


def test_ray_stays_in_few_files() -> None:
    using = {name for name, path in FILES.items() if {"import ray", "from ray"} & set(_ray_imports(path))}
    assert using <= MAY_USE_RAY


def _ray_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "ray" for alias in node.names):
            yield "import ray"
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ray":
            yield "from ray"


@pytest.mark.parametrize("module", FILES)
def test_files_and_functions_are_small(module: str) -> None:
    text = FILES[module].read_text()
    assert text.count("\n") <= MOST_LINES
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, functions):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= MOST_LINES_OF_A_FUNCTION, f"{node.name} has {length} lines"
