"""The job: what loads, what it means, and what each fault is called."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gan_dist.errors import JobError
from gan_dist.launch.load_job import load_job
from gan_dist.registry.job_schema import job_schema
from gan_dist.registry.lookup import ALIASES
from gan_dist.spec.amounts import Amount
from gan_dist.spec.fields import WorkerRange
from gan_dist.spec.job import JobSpec
from gan_dist.spec.job_file import read_job_file
from gan_dist.spec.schedules import Schedule
from tests.helpers import ROOT

JOBS = sorted(path for path in (ROOT / "jobs").rglob("*.yaml"))

BASE = """\
name: digits
data:
  source: digits
  size: 16
generator: {use: dcgan, width: 32}
discriminator: {use: dcgan, norm: none}
objective: {use: hinge}
penalties:
  - {use: r1, gamma: 1}
optimizer:
  lr: {cosine: {from: 2e-4, to: 5e-5, over: 2M}}
  discriminator: {lr: 1e-4, clip: null}
ema: {half_life: {cosine: {from: 0, to: 500k, over: 2M}}, ramp_up: 0.05}
batch: 64
until: 150 epochs
"""

STAGES = """\
name: staged
data: {source: digits, size: 16}
generator: dcgan
discriminator: {use: dcgan, norm: none}
penalties: [{use: r1}]
optimizer: {lr: {cosine: {from: 2e-4, to: 5e-5, over: 2M}}, discriminator: {lr: 1e-4}}
every: {report: 1k}
batch: 64
stages:
  - {name: warm, objective: hinge, for: 1M, optimizer: {lr: 1e-3}, penalties: []}
  - {objective: [{use: hinge}, {use: minimax, weight: 2}], for: 20 epochs, every: {grid: 2k},
     optimizer: {lr: {cosine: {to: 1e-5}}, discriminator: {eps: 1e-6}}}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(text: str, *overrides: str) -> JobSpec:
    Path("job.yaml").write_text(text)
    return load_job("job.yaml", overrides)


def problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(JobError) as error:
        load(text, *overrides)
    return str(error.value).split("\n")


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_shipped_jobs_load_and_name_the_schema(path: Path) -> None:
    load_job(path)
    command, schema = path.read_text().splitlines()[:2]
    assert command.startswith(f"# gan-dist submit {path.relative_to(ROOT)}")
    up = "." if path.parent == ROOT / "jobs" else ".."
    assert schema == f"# yaml-language-server: $schema={up}/job.schema.json"


@pytest.mark.parametrize("job", [BASE, STAGES, *JOBS])
def test_json_gives_back_the_same_job(job: str | Path, here: Path) -> None:
    spec = load_job(job) if isinstance(job, Path) else load(job)
    again = JobSpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert again.model_dump_json() == spec.model_dump_json()
    assert again.phases_plan == spec.phases_plan


def test_what_a_job_means(here: Path) -> None:
    spec = load(BASE, "resources.workers={min: 2, max: 8}", "generator.width=1e0", "generator.width=8")
    assert spec.until == Amount(150, "epochs")
    assert spec.generator.args == {"width": 8}
    assert list(spec.network_specs) == ["generator", "discriminator"]
    assert spec.objective is not None and spec.objective[0].args == {}
    assert spec.penalties[0].args == {"gamma": 1}
    assert spec.resources.workers == WorkerRange(min=2, max=8)
    assert spec.ema is not None
    assert spec.ema[0].half_life == Schedule("cosine", 0, 500_000, Amount(2_000_000))
    assert spec.optimizer.settings("discriminator").lr == 1e-4
    assert spec.optimizer.settings("generator").lr == Schedule("cosine", 2e-4, 5e-5, Amount(2_000_000))


def test_a_schedule_as_argument(here: Path) -> None:
    gamma = load(BASE, "penalties.0.gamma={linear: {from: 10, to: 1, over: 1M}}").penalties[0].args["gamma"]
    assert gamma == Schedule("linear", 10.0, 1.0, Amount(1_000_000))


def test_stages_take_the_rest_from_the_job(here: Path) -> None:
    warm, main = load(STAGES).phases_plan
    assert (warm.length, main.length) == (Amount(1_000_000), Amount(20, "epochs"))
    assert warm.penalties == () and main.penalties is not None and main.penalties[0].use == "r1"
    assert warm.optimizer is not None and main.optimizer is not None
    assert warm.optimizer.settings("generator").lr == 1e-3
    assert warm.optimizer.settings("discriminator").lr == 1e-4
    assert main.optimizer.settings("generator").lr == Schedule("cosine", 2e-4, 1e-5, Amount(2_000_000))
    assert main.optimizer.settings("discriminator").eps == 1e-6
    assert main.every is not None
    assert (main.every.report, main.every.grid) == (Amount(1000), Amount(2000))
    assert [one.weight for one in main.objective] == [1.0, 2]


def test_objective_and_until_are_one_stage(here: Path) -> None:
    (only,) = load(BASE).phases_plan
    assert only.length == Amount(150, "epochs")
    assert only.penalties == load(BASE).penalties


def test_all_problems_at_once_with_their_lines(here: Path) -> None:
    text = BASE.replace("source: digits", "sorce: digits").replace("width: 32", "widht: 32")
    text = text.replace("{use: hinge}", "{use: hing}").replace("batch: 64", "batch: 1k")
    assert problems(text, "precision=fp8") == [
        "-o: precision: 'fp8' is not allowed (allowed: auto, fp32, bf16, fp16, fp64)",
        "job.yaml:2: data.source: required, but missing",
        "job.yaml:3: data.sorce: unknown key; did you mean 'source'? "
        "(allowed: args, background, channels, class_weights, encode, fit, "
        "ingest, labels, max_rejected, modality, range, size, source, "
        "split, window, xflip)",
        "job.yaml:5: generator.widht: unknown key; did you mean 'width'? (allowed: width, z)",
        "job.yaml:7: objective.use: unknown objective 'hing'; did you mean 'hinge'? "
        f"(allowed: {', '.join(sorted(ALIASES['objective']))}), or your own as 'package.module:Name'",
        "job.yaml:14: batch: '1k' is not a whole number",
    ]


ALLOWED_OF_THE_OPTIMIZER = "betas, clip, discriminator, eps, generator, lr, use, warmup, weight_decay"


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("data.column={a: 1}", "data.column: {'a': 1} must be text (in quotes, if it looks like a number)"),
        ("data.column=[1]", "data.column[0]: 1 must be text (in quotes, if it looks like a number)"),
        ("data.tokens=wrods", "data.tokens: unknown way 'wrods'; did you mean 'words'? "
                              "(allowed: words, blanks, characters, treebank, bpe), or a tokeniser.json"),
        ("data.prompt=setup", "data: prompt: 'setup' is the column of the text too; name another"),
        ("data.prompt=[1]", "data.prompt: [1] must be text (in quotes, if it looks like a number)"),
        ("data.prompt={frist: 1 sentence}",
         "data.prompt.first: required, but missing; data.prompt.frist: unknown key; did you mean 'first'? "
         "(allowed: first)"),
    ],
)  # fmt: skip
def test_of_a_name_or_keys_the_one_meant_is_told(override: str, problem: str) -> None:
    with pytest.raises(JobError) as told:
        load_job(ROOT / "jobs" / "jokes.yaml", [override])
    assert "; ".join(f"{one.key}: {one.message}" for one in told.value.problems) == problem


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("seed='1'", "seed: '1' is not a whole number"),
        ("seed=-1", "seed: -1 is out of range; must be at least 0"),
        ("name=My Run", "name: 'My Run' is no valid name; "
                        "use at most 61 of a-z, 0-9, '.', '_' and '-', a letter or digit first"),
        ("name=5", "name: 5 must be text (in quotes, if it looks like a number)"),
        ("version=2", "version: 2 is not allowed (allowed: 1)"),
        ("data.size=1.5", "data.size: 1.5 is not a whole number"),
        ("data.size=2", "data.size: 2 is out of range; must be at least 4"),
        ("data.labels=folder", "data.labels: 'folder' is not allowed; did you mean 'folders'? "
                               "(allowed: none, folders, source, vectors)"),
        ("data=null", "data: null must be a mapping of keys"),
        ("data.range={a: 1}", "data.range: {'a': 1} is not allowed (allowed: auto)"),
        ("data.range=[0, white]", "data.range[1]: 'white' is not a number"),
        ("freeze.generator={a: 1}", "freeze.generator: {'a': 1} is not a whole number"),
        ("freeze.generator=[1]", "freeze.generator[0]: 1 must be text (in quotes, if it looks like a number)"),
        ("batch=true", "batch: true is not a whole number"),
        ("batch=null", "batch: null is not a whole number"),
        ("batch=0", "batch: 0 is out of range; must be at least 1"),
        ("micro_batch=65", "micro_batch: 65 is larger than the batch of 64 that it is a part of"),
        ("micro_batch=all", "micro_batch: 'all' is neither a number nor 'auto'"),
        ("micro_batch=0", "micro_batch: 0 is out of range; must be at least 1, or 'auto'"),
        ("until=3 weeks", "until: unknown unit 'weeks' in '3 weeks' "
                          "(allowed: k, M, G, samples, epochs, steps)"),
        ("until=null", "until: required, but missing; "
                       "say how long to train, such as 64k, '150 epochs' or '2000 steps'"),
        ("objective=null", "objective: required, but missing (or give `stages`)"),
        ("objective=[]", "objective: [] is empty; give at least one"),
        ("objective=5", "objective: 5 must be a mapping with `use`, or a list of them"),
        ("objective.weight=-1", "objective.weight: -1 is out of range; must be at least 0"),
        ("objective.weight={linear: {from: 1, to: -2, over: 1k}}",
         "objective.weight: -2 (a value of its schedule) is out of range; must be at least 0"),
        ("penalties=5", "penalties: 5 must be a list, such as [a, b]"),
        ("penalties.0.every=0", "penalties[0].every: 0 is out of range; must be at least 1"),
        ("compile=yes", "compile: 'yes' must be true or false"),
        ("optimizer.betas=[0.5, 1]", "optimizer.betas[1]: 1 is out of range; must be at least 0 and less than 1"),
        ("optimizer.lrr=1", "optimizer.lrr: unknown key; did you mean 'lr'? "
                            f"(allowed: {ALLOWED_OF_THE_OPTIMIZER})"),
        ("optimizer.generatr={lr: 1}", "optimizer.generatr: unknown key; did you mean 'generator'? "
                                       f"(allowed: {ALLOWED_OF_THE_OPTIMIZER})"),
        ("optimizer.generator=[1]", "optimizer.generator: [1] must be a mapping of keys"),
        ("optimizer.generator.lrate=1", "optimizer.generator.lrate: unknown key "
                                        "(allowed: betas, clip, eps, lr, warmup, weight_decay)"),
        ("optimizer.lr.linear.to=1", "optimizer.lr: linear: missing from, over (needs from, to, over)"),
        ("ema.half_life=-1", "ema.half_life: -1 is out of range; must be at least 0"),
        ("keep.best=1", "keep: best: 1 needs `metric`, the metric that decides what is best"),
        ("resources.workers={min: 2}", "resources.workers: {'min': 2} must give both min and max"),
        ("resources.workers={min: 3, max: 2}",
         "resources.workers: min 3 and max 2 are out of range; must be 1 <= min <= max"),
        ("resources.workers=100",
         "resources.workers: 100 workers cannot share a batch of 64; each needs a sample"),
        ("resources.cpus_per_worker=0",
         "resources.cpus_per_worker: 0 is out of range; must be at least 0.1, or 'auto'"),
        ("environment.env=[A=1]", "environment.env[0]: 'A=1' is no name of an environment variable "
                                  "(names only, no values)"),
        ("environment.secrets={A B: /run/a}", "environment.secrets.A B: 'A B' is no name of an environment variable "
                                              "(names only, no values)"),
        ("environment.secrets={A: run/a}", "environment.secrets.A: 'run/a' is no absolute path of a file, such as "
                                           "/run/secrets/hf_token"),
        ("environment={env: [A], secrets: {A: /run/a}}",
         "environment: secrets: 'A' is in `env` too; a variable is sent or read on the nodes"),
        ("networks.generator.use=mlp", "networks.generator: 'generator' is no name for a further network; "
                                       "use a word of a-z, 0-9 and '_'"),
    ],
)  # fmt: skip
def test_faults(override: str, problem: str, here: Path) -> None:
    assert f"-o: {problem}" in problems(BASE, override)


@pytest.mark.parametrize(
    ("override", "meant"),
    [("lr=3", "optimizer.lr"), ("workers=2", "resources.workers"), ("source=x", "data.source"), ("batc=3", "batch")],
)
def test_a_key_written_without_its_section_is_told_with_it(override: str, meant: str, here: Path) -> None:
    key = override.partition("=")[0]
    assert any(one.startswith(f"-o: {key}: unknown key; did you mean '{meant}'? ") for one in problems(BASE, override))


def test_objective_and_stages_exclude_each_other(here: Path) -> None:
    found = problems(BASE + "stages: [{objective: hinge, for: 1k}]\n")
    rule = "give either `objective` and `until`, or `stages`, not both"
    assert found == [
        f"job.yaml:7: objective: {rule}; in the first stage it is stages.0.objective",
        f"job.yaml:15: until: {rule}; in the first stage it is stages.0.for",
    ]


def test_faults_in_stages(here: Path) -> None:
    text = STAGES.replace("{use: minimax, weight: 2}", "{use: minimax, wieght: 2}").replace("eps: 1e-6", "epss: 1")
    text = text.replace("report: 1k", "report: 0")
    assert problems(text) == [
        "job.yaml:7: every.report: 0 is out of range; must be more than 0",
        "job.yaml:11: stages[1].objective[1].wieght: unknown key (allowed: d_steps, fakes, label_smoothing)",
        "job.yaml:12: stages[1].optimizer.discriminator.epss: unknown key; did you mean 'eps'? "
        "(allowed: betas, clip, eps, lr, warmup, weight_decay)",
    ]


def test_a_stage_trains_networks_of_the_job(here: Path) -> None:
    text = STAGES.replace("for: 1M,", "for: 1M, train: [discrimnator],")
    assert problems(text) == [
        "job.yaml:10: stages[0].train: the job has no network 'discrimnator'; did you mean 'discriminator'? "
        "(allowed: generator, discriminator)"
    ]
    assert load(STAGES.replace("for: 1M,", "for: 1M, train: [discriminator],")).phases_plan[0].train == (
        "discriminator",
    )


def test_a_merge_leaves_no_arguments_of_another_component_behind(here: Path) -> None:
    spec = load(BASE, "generator.use=mlp", "discriminator.use=mlp", "generator.hidden=64")
    assert (spec.generator.args, spec.discriminator and spec.discriminator.args) == ({"hidden": 64}, {})


def test_storage_of_the_caller_wins(here: Path) -> None:
    Path("job.yaml").write_text(BASE + "storage: here\n")
    assert load_job("job.yaml").storage == "here"
    assert load_job("job.yaml", storage="there").storage == "there"


def test_the_schema_is_the_committed_one() -> None:
    text = json.dumps(job_schema(), indent=2) + "\n"
    assert (ROOT / "jobs" / "job.schema.json").read_text() == text, "gan-dist schema > jobs/job.schema.json"


def test_the_schema_describes_every_key() -> None:
    def bare(node: Any, path: str = "") -> list[str]:
        if isinstance(node, list):
            return [one for index, inner in enumerate(node) for one in bare(inner, f"{path}/{index}")]
        if not isinstance(node, dict):
            return []
        keys = node.get("properties", {})
        conditions = path.endswith("/if")
        here = [f"{path}/{key}" for key, value in keys.items()
                if isinstance(value, dict) and not value.get("description") and not conditions]  # fmt: skip
        return here + [one for key, inner in node.items() for one in bare(inner, f"{path}/{key}")]

    assert bare(job_schema()) == []


def test_the_schema_accepts_the_shipped_jobs_and_refuses_faults() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    validator = jsonschema.Draft7Validator(job_schema())
    for path in JOBS:
        validator.validate(read_job_file(path).value)
    job = read_job_file(JOBS[0]).value
    for fault in (
        {"bach": 1},
        {"generator": {"use": "dcgan", "widht": 3}},
        {"until": "3 weeks"},
        {"objective": "x"},
        {"optimizer": {"momentum": 0.9}},
        {"optimizer": {"generator": {"momentum": 0.9}}},
        {"optimizer": {"use": "RMSprop"}},
    ):
        assert not validator.is_valid({**job, **fault}), fault
    own = {"use": "torch.optim:SGD", "momentum": {"linear": {"from": 0, "to": 0.9, "over": "1k"}}}
    validator.validate({**job, "optimizer": {**own, "generator": {"nesterov": True}}})


def test_loading_a_job_imports_nothing_heavy() -> None:
    code = (
        "import sys; from gan_dist.launch.load_job import load_job; load_job('jobs/dcgan.yaml');"
        "print([name for name in ('torch', 'ray', 'numpy', 'pyarrow') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
