"""The notebook page: its cells run in order, and what a cell ends with shows itself."""

from __future__ import annotations

import ast
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import ROOT

CELL = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell as a notebook does: the value of its last line, where that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_cells_run_in_order_and_show_what_they_end_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = CELL.findall((ROOT / "gan_dist" / "docs" / "notebook.md").read_text())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").symlink_to(ROOT / "jobs")
    notebook = types.ModuleType("__notebook__")
    monkeypatch.setitem(sys.modules, "__notebook__", notebook)
    shown = [run_cell(cell, notebook.__dict__) for cell in cells]
    names = vars(notebook)
    run, model = shown[0], shown[1]
    assert run is names["run"] and run.status == "succeeded"
    page = run._repr_html_()
    assert "fd_random" in page and page.count("data:image/png;base64,") == 2  # curves, and the last grid
    assert model._repr_png_().startswith(b"\x89PNG")
    assert shown[2][0] == (16, 1, 8, 8)
    assert [seen for seen, _ in shown[3]] == sorted(seen for seen, _ in shown[3])
    jobs, results = shown[4]
    assert jobs["optimizer.lr"][1] == "0.001" and "status" in results
    assert shown[5].status == "succeeded" and "D/loss" in shown[5].history()[-1]
    assert shown[6][0] == run.seen == 300 * 64
