"""`gan-dist jobs` hands out the jobs that come with gan-dist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gan_dist.registry.catalog import published_jobs, shipped_jobs


def test_every_shipped_job_is_listed_with_a_sentence(cli: Any) -> None:
    code, out, _ = cli("jobs", "list", "--json")
    rows = json.loads(out)
    published = [f"published/{path.stem}" for path in published_jobs()]
    assert code == 0 and [row["name"] for row in rows] == [path.stem for path in shipped_jobs()] + published
    assert all(20 < len(row["about"]) < 250 and not row["about"].endswith("et al") for row in rows)
    assert cli("jobs", "show", "dcgan")[1].startswith("# gan-dist submit jobs/dcgan.yaml")


@pytest.mark.parametrize("path", shipped_jobs(), ids=lambda path: path.stem)
def test_every_job_says_how_long_it_takes_or_what_it_needs(path: Path) -> None:
    head = " ".join(line for line in path.read_text().splitlines() if line.startswith("#"))
    assert re.search(r"\b(seconds|minutes?|hours?)\b|\bGPU\b", head), f"{path.name} says no time"


@pytest.mark.parametrize("name", ["dcgan", "relgan-news", "pbt-dcgan", "jobs/vae.yaml", "published/r3gan-ffhq64"])
def test_a_copy_is_valid_where_it_lies(name: str, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("jobs", "copy", name)[0] == 0
    copied = tmp_path / f"{Path(name).stem}.yaml"
    assert cli("validate", copied)[0] == 0
    assert copied.read_text().startswith(f"# gan-dist submit {copied.name}")
    assert "jobs/" not in "".join(re.findall("gan-dist submit .*", copied.read_text()))


def test_a_copy_may_have_another_name_and_writes_over_nothing(cli: Any, tmp_path: Path) -> None:
    target = tmp_path / "new" / "mine.yaml"
    assert cli("jobs", "copy", "mlp", target)[0] == 0
    target.write_text("mine")
    code, _, err = cli("jobs", "copy", "mlp", target)
    assert code == 2 and "is there already; choose another place, or --force" in err and target.read_text() == "mine"
    assert cli("jobs", "copy", "mlp", target, "--force")[0] == 0 and target.read_text() != "mine"
    code, _, err = cli("jobs", "show", "dcgn")
    assert code == 2 and "did you mean 'dcgan'?" in err
