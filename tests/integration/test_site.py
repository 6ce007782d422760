"""The site: every page of the manual is in its navigation, it builds, and a dead link fails the build."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.helpers import ROOT

QUIET = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
OTHERS = {"index.md", "gallery/index.md", "changelog.md", "architecture.md", "contributing.md"}


def pages_of(nav: Any) -> list[str]:
    """Every page of a navigation, sections opened."""
    if isinstance(nav, str):
        return [nav]
    if isinstance(nav, dict):
        return [page for inner in nav.values() for page in pages_of(inner)]
    return [page for inner in nav for page in pages_of(inner)]


def build(root: Path, target: Path) -> subprocess.CompletedProcess[str]:
    words = ["-m", "mkdocs", "build", "--strict", "-f", str(root / ".github" / "mkdocs.yml"), "-d", str(target)]
    return subprocess.run([sys.executable, *words], cwd=root, capture_output=True, text=True, env=QUIET)


def test_every_page_is_in_the_navigation() -> None:
    site = YAML(typ="safe").load(ROOT / ".github" / "mkdocs.yml")
    named = pages_of(site["nav"])
    assert len(named) == len(set(named))
    assert set(named) == OTHERS | {page.name for page in (ROOT / "gan_dist" / "docs").glob("*.md")}


@pytest.mark.slow
def test_the_site_builds_with_the_gallery_and_fails_where_a_link_is_dead(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="needs mkdocs-material: pip install 'gan-dist[docs]'")
    done = build(ROOT, tmp_path / "site")
    assert done.returncode == 0, done.stdout + done.stderr
    first = (tmp_path / "site" / "index.html").read_text()
    assert 'src="gallery/painted.webp"' in first and (tmp_path / "site" / "gallery" / "painted.webp").exists()
    assert (tmp_path / "site" / "job" / "index.html").exists()
    fetched = [line for line in first.splitlines() if "<script" in line or "stylesheet" in line]
    assert fetched and not any('="http' in line for line in fetched)

    broken = tmp_path / "checkout"
    for name in (".github", "gan_dist/docs"):
        shutil.copytree(ROOT / name, broken / name)
    for name in ("README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "cluster.yaml"):
        shutil.copy(ROOT / name, broken / name)
    page = broken / "gan_dist" / "docs" / "start.md"
    page.write_text(page.read_text() + "\n[nowhere](nowhere.md)\n")
    done = build(broken, tmp_path / "other")
    assert done.returncode == 1 and "nowhere.md" in done.stdout + done.stderr
