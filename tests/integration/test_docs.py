"""The documentation is true: tables follow the models, examples run, links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gan_dist.cli import app
from gan_dist.launch.load_job import load_job
from gan_dist.registry import lookup
from gan_dist.spec.data import CodecSpec, PairData, UnpairedData
from gan_dist.spec.fields import PromptCut, WorkerRange
from gan_dist.spec.job import (
    ComponentSpec,
    EmaSpec,
    EnvironmentSpec,
    EverySpec,
    FeaturesSpec,
    ImageData,
    JobSpec,
    KeepSpec,
    MetricSpec,
    NotifySpec,
    ObjectiveSpec,
    OptimizerSpec,
    PenaltySpec,
    ResourcesSpec,
    SchedulerSpec,
    StageSpec,
    StandingSpec,
    StopSpec,
    SweepSpec,
    TextData,
    TrackerSpec,
)
from gan_dist.testing.bench import component_modality
from tests.helpers import ROOT

DOCS = ROOT / "gan_dist" / "docs"
README = ROOT / "README.md"
TOPICS = (
    *(
        "cluster",
        "compare",
        "data",
        "errors",
        "gpu",
        "job",
        "latents",
        "metrics",
        "networks",
        "notebook",
        "own",
        "python",
    ),
    *("resume", "results", "security", "start", "sweeps", "tensorboard", "text"),
)
SECTIONS: dict[str, type[BaseModel]] = {
    "": JobSpec,
    "data": ImageData,
    "data ": TextData,
    "data  ": PairData,
    "data   ": UnpairedData,
    "data.prompt": PromptCut,
    "data.encode": CodecSpec,
    "generator": ComponentSpec,
    "objective": ObjectiveSpec,
    "penalties[]": PenaltySpec,
    "optimizer": OptimizerSpec,
    "ema": EmaSpec,
    "standing": StandingSpec,
    "metrics[]": MetricSpec,
    "metrics[].features": FeaturesSpec,
    "stop_when": StopSpec,
    "stages[]": StageSpec,
    "every": EverySpec,
    "trackers[]": TrackerSpec,
    "notify": NotifySpec,
    "keep": KeepSpec,
    "resources": ResourcesSpec,
    "resources.workers": WorkerRange,
    "environment": EnvironmentSpec,
    "sweep": SweepSpec,
    "sweep.scheduler": SchedulerSpec,
}
COMPONENTS = [(kind, alias) for kind, aliases in lookup.ALIASES.items() for alias in aliases]


def table(heading: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heading, ("---",) * len(heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def job_tables() -> dict[str, str]:
    """What the job page must hold, by section: one row for each key."""
    return {
        prefix: table(
            ("key", "default", "unit", "meaning"),
            [job_row(prefix, name, field) for name, field in model.model_fields.items()],
        )
        for prefix, model in SECTIONS.items()
    }


def job_row(prefix: str, name: str, field: FieldInfo) -> tuple[str, ...]:
    key = ".".join(filter(None, (prefix.strip(), field.alias or name)))
    extra = field.json_schema_extra
    unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
    return f"`{key}`", default_of(field), unit, field.description or ""


def default_of(field: FieldInfo) -> str:
    default = field.default
    if field.is_required():
        return "required"
    if isinstance(default, BaseModel):
        return "below"
    if field.default_factory is not None:
        return "`{}`"
    if default is None or isinstance(default, bool):
        return {None: "`null`", True: "`true`", False: "`false`"}[default]
    if isinstance(default, tuple):
        return f"`{list(default)}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def component_table(kind: lookup.Kind, alias: str) -> str:
    """What a page must hold for a component: one row for each argument a job may give."""
    params = lookup.signature(lookup.ALIASES[kind][alias]).params
    return table(
        (f"`{alias}`, {kind}", "default", "meaning"),
        [
            (f"`{param.name}`", "required" if param.required else f"`{shown(param.default)}`", param.doc)
            for param in params
            if param.name not in lookup.PROVIDED[kind]
        ],
    )


def is_for_text(kind: lookup.Kind, alias: str) -> bool:
    return kind in ("generator", "discriminator", "objective") and component_modality(kind, alias, ()) == "text"


def shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def fenced(text: str, language: str) -> list[str]:
    """The code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def own_example() -> dict[str, str]:
    """The files of the manual's own GAN."""
    section = (DOCS / "own.md").read_text().split("\n## A whole GAN of your own\n")[1].split("\n## ")[0]
    (code,), (job,) = fenced(section, "python"), fenced(section, "yaml")
    return {"my_gan.py": code, "my_gan.yaml": job}


def test_help_lists_and_shows_every_topic(cli) -> None:
    code, listed, _ = cli("help")
    assert code == 0 and [line.split()[0] for line in listed.splitlines()] == sorted(TOPICS)
    for topic in TOPICS:
        code, page, _ = cli("help", topic)
        assert code == 0 and re.match(r"# \w", page), topic
        assert len(page.splitlines()[0]) <= 70, topic
        assert not re.search(r"\]\(\w+\.md", page), topic  # a link is told as a command
    assert "`gan-dist help metrics`" in cli("help", "start")[1]
    code, _, complaint = cli("help", "jobs")
    assert code == 2 and "did you mean 'job'" in complaint


@pytest.mark.parametrize("prefix", SECTIONS)
def test_every_key_of_the_job_is_on_its_page(prefix: str) -> None:
    wanted = job_tables()[prefix]
    assert wanted in (DOCS / "job.md").read_text(), f"put this table into docs/job.md:\n{wanted}"


def test_no_section_of_the_job_is_forgotten() -> None:
    """A new model of the job must be given to SECTIONS."""
    known = {model.__name__ for model in SECTIONS.values()}
    held = {name for name in JobSpec.model_json_schema()["$defs"] if name not in {"NetworkOptimizer"}}
    assert held <= known


@pytest.mark.parametrize(("kind", "alias"), COMPONENTS)
def test_every_component_is_on_its_page(kind: lookup.Kind, alias: str) -> None:
    page = "text.md" if is_for_text(kind, alias) else "networks.md"
    page = {"metric": "metrics.md", "extractor": "metrics.md", "tracker": "tensorboard.md"}.get(kind, page)
    wanted = component_table(kind, alias)
    assert wanted in (DOCS / page).read_text(), f"put this table into docs/{page}:\n{wanted}"


@pytest.mark.parametrize(("page", "count"), [(README, 1), (DOCS / "job.md", 2), (DOCS / "own.md", 1)])
def test_example_jobs_are_valid(page: Path, count: int, tmp_path: Path) -> None:
    for name, content in own_example().items():
        (tmp_path / name).write_text(content)
    examples = fenced(page.read_text(), "yaml")
    assert len(examples) == count
    for number, text in enumerate(examples):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        load_job(path, roots=[tmp_path])


def test_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 250
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) + re.findall(r'(?:src|href)="([^"#]+)"', text)
    local = [target for target in targets if "://" not in target]
    assert {Path(target).suffix for target in local} >= {".webp", ".gif", ".svg"}  # the gallery
    assert [target for target in local if not (ROOT / target).exists()] == []


def test_links_between_pages_lead_somewhere() -> None:
    wrong = []
    for page in DOCS.glob("*.md"):
        targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
        wrong += [(page.name, one) for one in targets if "://" not in one and not (DOCS / one).exists()]
    assert wrong == []


def test_the_gallery_shows_healthy_runs_with_their_commands() -> None:
    from benchmarks import gallery

    folder = ROOT / ".github" / "gallery"
    assert gallery.page() == (folder / "README.md").read_text(), "gallery.py draw WORK writes the page"
    page, runs = (folder / "README.md").read_text(), json.loads((folder / "runs.json").read_text())
    assert runs and {run["status"] for run in runs.values()} == {"succeeded"}
    pictures = {path.name for path in folder.iterdir()} - {"README.md", "runs.json", "tales.md"}
    assert set(re.findall(r"!\[[^]]+\]\(([^)]+)\)", page)) == pictures
    assert all(f"-o name={name} " in page or f"jobs/{name.partition('-')[0]}.yaml" in page for name in runs)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_500_000
    assert (folder / "tales.md").read_text().strip() in page and (folder / "tales.md").read_text() in README.read_text()


@pytest.mark.parametrize("page", [".github/CONTRIBUTING.md", ".github/ARCHITECTURE.md", "CHANGELOG.md"])
def test_links_of_other_pages_lead_somewhere(page: str) -> None:
    path = ROOT / page
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text())
    assert [one for one in targets if "://" not in one and not (path.parent / one).exists()] == []


def test_architecture_names_files_that_are_there() -> None:
    text = (ROOT / ".github" / "ARCHITECTURE.md").read_text()
    named = re.findall(r"`((?:gan_dist|tests|jobs)/[\w./]+)`", text)
    assert named and [name for name in named if not (ROOT / name).exists()] == []


def written() -> Iterator[tuple[str, str]]:
    """(where, command line) of every `gan-dist ...` in the documentation."""
    others = (ROOT / ".github" / "CONTRIBUTING.md", ROOT / ".github" / "gallery" / "README.md")
    for page in (README, *sorted(DOCS.glob("*.md")), *others):
        for line in re.findall(r"`(gan-dist [^`\n]+)`|^\s*(?:\$ )?(gan-dist .+)$", page.read_text(), re.MULTILINE):
            yield page.name, line[0] or line[1]


def test_commands_and_options_in_the_documentation_exist() -> None:
    import typer

    group = typer.main.get_command(app)
    wrong = []
    for page, line in written():
        words = line.split("#")[0].split()[1:]
        if words[0].startswith("-"):
            continue
        command = group.commands.get(words[0])  # type: ignore[attr-defined]
        if len(words) > 1 and words[1] in getattr(command, "commands", {}):
            command = command.commands[words[1]]
        options = {name for param in command.params for name in param.opts} if command else set()
        known = options | {"--help", "-h"}
        if command is None or any(re.match(r"-\D", word) and word.split("=")[0] not in known for word in words[1:]):
            wrong.append((page, line))
    assert wrong == []


@pytest.mark.slow
def test_own_example_passes_check_and_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli) -> None:
    import gan_dist

    for name, content in own_example().items():
        (tmp_path / name).write_text(content)
    assert len(own_example()["my_gan.py"].splitlines()) <= 60
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("Generator", "Discriminator", "Wasserstein", "GradientPenalty"):
        code, _, err = cli("check", f"my_gan:{name}")
        assert code == 0, err
    run = gan_dist.train("my_gan.yaml", **{"until": "3 steps", "every.report": "1 steps"})
    assert run.status == "succeeded"
    terms = {"D/critic", "D/gradient_penalty", "D/real_logits", "G/critic"}
    assert terms <= set(re.findall(r'"([\w/]+)":', run.folder.folder.read("scalars.jsonl").decode()))
    assert gan_dist.load(run).sample(2).shape == (2, 1, 16, 16)


@pytest.mark.slow
def test_own_example_runs_from_the_command_line(tmp_path: Path) -> None:
    """In a process of its own: nothing but the job says where my_gan.py is."""
    for name, content in own_example().items():
        (tmp_path / name).write_text(content)
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environ["GAN_DIST_HOME"] = str(tmp_path / "home")
    start = [sys.executable, "-c", f"import sys; sys.path[0] = {str(ROOT)!r}; from gan_dist.cli import main; main()"]
    for words in (("submit", "my_gan.yaml", "--local", "-o", "until=3 steps"), ("sample", "last")):
        done = subprocess.run([*start, *words], cwd=tmp_path, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_examples_of_an_optimiser_and_a_data_set_pass_check_and_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli
) -> None:
    import gan_dist

    page = (DOCS / "own.md").read_text()
    _, optimizer, data, _ = fenced(page, "python")
    (tmp_path / "my_optimizer.py").write_text(optimizer)
    (tmp_path / "my_data.py").write_text(data)
    sections = re.findall(r"^    ((?:optimizer|data): \{.*(?:my_optimizer|my_data):.*)$", page, re.MULTILINE)
    nets = ["generator: {use: mlp, hidden: 8, z: 4}", "discriminator: {use: mlp, hidden: 8}", "objective: hinge"]
    (tmp_path / "job.yaml").write_text("\n".join(["name: own", *sections, *nets, "batch: 8", "until: 3 steps"]))
    assert len(sections) == 2
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, kind in (("my_optimizer:SignMomentum", "optimizer"), ("my_data:Discs", "dataset")):
        code, said, err = cli("check", name)
        assert code == 0 and f" {kind}, ok" in said, err
    run = gan_dist.train("job.yaml")
    assert run.status == "succeeded"
    assert gan_dist.load(run).classes == ("large", "small")


def test_cluster_yaml_is_what_ray_accepts() -> None:
    from importlib.util import find_spec

    import jsonschema
    from ruamel.yaml import YAML

    origin = find_spec("ray").origin  # type: ignore[union-attr]
    schema = json.loads((Path(str(origin)).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(YAML(typ="safe").load(ROOT / "cluster.yaml"), schema)


PIP = "~/gan-dist-env/bin/pip install"
INSTALLS = {
    "cluster.yaml": PIP,
    "deploy/aws.yaml": "~/.local/bin/uv pip install --python ~/gan-dist-env/bin/python",
    "deploy/gcp.yaml": "~/.local/bin/uv pip install --python ~/gan-dist-env/bin/python",
}


def install_lines(by: str = PIP) -> str:
    """What a cluster's nodes install: all that gan-dist depends on, in its ranges."""
    import textwrap
    import tomllib

    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    words = [by, *(f"'{package}'" for package in wanted)]
    indent = " " * 4
    return textwrap.fill(" ".join(words), 120, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


@pytest.mark.parametrize("file", INSTALLS)
def test_nodes_install_what_the_package_needs(file: str) -> None:
    lines = install_lines(INSTALLS[file])
    assert f"\n  - >-\n{lines}\n" in (ROOT / file).read_text(), f"{file} must install\n{lines}"


def test_ci_calls_the_documented_command() -> None:
    script = ROOT / ".ci" / "run"
    text = script.read_text()
    assert script.stat().st_mode & stat.S_IXUSR
    assert text.startswith("#!/usr/bin/env bash\n") and "set -euo pipefail" in text
    assert "pip install -e '.[test]'" in text and "pip install -e '.[test]'" in README.read_text()
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_the_workflow_runs_every_tier_that_needs_no_gpu_and_no_machines() -> None:
    import tomllib

    from ruamel.yaml import YAML

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    markers = {line.split(":")[0] for line in project["tool"]["pytest"]["ini_options"]["markers"]}
    jobs = YAML(typ="safe").load(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]
    matrix = jobs["tier"]["strategy"]["matrix"]
    commands = {each["tier"]: each["command"] for each in matrix["include"]}
    assert commands == {tier: "pytest" if tier == "plain" else f"pytest -m {tier}" for tier in matrix["tier"]}
    assert set(commands) == {"plain"} | markers - {"gpu", "fleet"}
    assert f">={matrix['python'][0]}" == project["project"]["requires-python"]
    checks = [step.get("run") for step in jobs["lint"]["steps"]]
    assert checks[-3:] == ["ruff check", "ruff format --check", "mypy"]
    assert any("--resolution lowest-direct" in step.get("run", "") for step in jobs["lowest-versions"]["steps"])


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    # Written in two parts, so that this file holds none of them.
    registries = ["py" + "pi.org", "python" + "hosted.org", "conda." + "anaconda.org", "registry." + "npmjs.org"]
    registries += ["arti" + "factory", "--index" + "-url", "--extra-index" + "-url", "PIP_" + "INDEX_URL"]
    machines = ["/" + "work/", "/tmp/" + "venv"]
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    wrong = []
    for name in filter(None, found.split("\0")):
        path = ROOT / name
        if not path.is_file() or path.suffix in (".png", ".gz", ".webp", ".gif"):
            continue
        text = path.read_text(errors="replace")
        wrong += [(name, word) for word in (*registries, *machines) if word in text]
    assert wrong == []
