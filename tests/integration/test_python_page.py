"""The page on Python: its code runs as it stands, from the top to the bottom."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SKIPPED = "# skip:"


@pytest.mark.slow
def test_the_page_runs_from_the_top_to_the_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = FENCE.findall((ROOT / "gan_dist" / "docs" / "python.md").read_text())
    assert len(blocks) >= 6 and sum(block.startswith(SKIPPED) for block in blocks) == 1
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").symlink_to(ROOT / "jobs")
    # As in a notebook, its classes have a module without a file.
    page = types.ModuleType("python_page")
    monkeypatch.setitem(sys.modules, "python_page", page)
    for block in blocks:
        if not block.startswith(SKIPPED):
            exec(compile(block, "python.md", "exec"), page.__dict__)
    names = vars(page)
    assert names["run"].status == "succeeded" and names["longer"].seen > 0
    assert names["pixels"].shape[0] == 64
    assert set(names["found"].values) == {"kid_all_pairs_random_256", "kid_all_pairs_se_random_256"}
    assert "variation" not in names["blurry"].history()[-1] and "G/difference" in names["blurry"].history()[-1]
