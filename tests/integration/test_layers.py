"""Imports go down the list of packages, never up and never in a circle; functions stay small; the command starts
fast."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.helpers import ROOT

PACKAGE = ROOT / "gan_dist"
MOST_LINES_OF_A_FUNCTION = 60

# Each package may import those of the rows below it, and its neighbours in the same row.
LAYERS = (
    ("cli",),
    ("api",),
    ("launch",),
    ("testing", "sweeps"),
    ("execution",),
    ("training",),
    ("evaluation",),
    ("generation",),
    ("registry",),
    ("networks", "objectives", "penalties", "augment", "metrics"),
    ("data",),
    ("runs",),
    ("contracts",),
    ("distributed",),
    ("spec", "errors", "events"),
)
ROW = {package: row for row, packages in enumerate(LAYERS) for package in packages}
MAY_USE_RAY = {
    "data.executors",
    "execution.ray",
    "launch.cluster.daemon",
    "launch.driver",
    "sweeps",
}


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "gan_dist"


FILES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path: Path) -> Iterator[str]:
    """Modules of ours that a file imports, also inside functions and for types only."""
    for node in ast.walk(parsed(path)):
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


def package_of(module: str) -> str:
    return module.split(".")[0]


def test_every_package_has_its_row() -> None:
    assert {package_of(module) for module in FILES} - {"gan_dist"} == set(ROW)


@pytest.mark.parametrize("package", sorted(ROW))
def test_imports_go_down(package: str) -> None:
    up = [
        f"{module} imports {other}"
        for module in FILES
        if package_of(module) == package
        for other in imported(FILES[module])
        if other != "gan_dist" and ROW[package_of(other)] < ROW[package]
    ]
    assert not up


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def test_no_imports_go_in_a_circle() -> None:
    graph = {module: set(imported(path)) - {module, "gan_dist"} for module, path in FILES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_the_reader_of_imports_sees_them() -> None:
    assert "runs.checkpoint" in set(imported(FILES["training.trainer"])), "from gan_dist.runs import checkpoint"
    assert "launch.follow" in set(imported(FILES["cli.submit"])), "inside functions"


@pytest.mark.parametrize("module", ["gan_dist.cli", "gan_dist"])
def test_importing_the_command_line_costs_nothing_heavy(module: str) -> None:
    heavy = ("torch", "ray", "pydantic", "pyarrow", "numpy", "PIL", "sklearn")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


WITHOUT_TORCH = [
    "gan_dist.launch.driver",
    "gan_dist.execution.ray.prepare_ahead",  # the driver reads data with it while it imports torch
    "gan_dist.execution.ray.mailbox",
    "gan_dist.execution.ray.worker",  # and the next: of Ray Train's controller
    "gan_dist.execution.ray.worker_group",
    "gan_dist.data.executors",  # of each process that decodes data
    "gan_dist.launch.plan",  # and the next: of commands that people wait for
    "gan_dist.launch.submit",
    "gan_dist.launch.follow",
    "gan_dist.launch.run_status",
    "gan_dist.runs.deletion",
]


@pytest.mark.slow
def test_what_trains_nothing_imports_no_torch() -> None:
    each = "importlib.import_module(name); print(name, 'torch' in sys.modules)"
    code = f"import sys, importlib\nfor name in {WITHOUT_TORCH}: {each}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines() == [f"{name} False" for name in WITHOUT_TORCH]


def test_ray_stays_in_few_files() -> None:
    using = {name for name, path in FILES.items() if {"import ray", "from ray"} & set(_ray_imports(path))}
    assert {name for name in using if not any(f"{name}.".startswith(f"{one}.") for one in MAY_USE_RAY)} == set()


def _ray_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "ray" for alias in node.names):
            yield "import ray"
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ray":
            yield "from ray"


def test_functions_are_small() -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for module, path in FILES.items():
        for node in ast.walk(parsed(path)):
            if isinstance(node, functions):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= MOST_LINES_OF_A_FUNCTION, f"{module}.{node.name} has {length} lines"
