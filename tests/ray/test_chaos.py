"""A few rounds of benchmarks/chaos.py: harm to a run on a real Ray, recovery by what is said, and the last bit of the
weights is that of two processes without Ray that nobody touched."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gan_dist.launch.load_job import load_job
from tests.helpers import ROOT
from tests.integration.gang import Training, train_together
from tests.ray.conftest import Site

# The Ray tier does one harm of each kind: to trials and a whole cluster in test_sweep.py, to parts of a Ray elsewhere.
pytestmark = pytest.mark.fleet
SEED = 21


@pytest.fixture(scope="module")
def chaos() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        import chaos

        yield chaos
        for name in ("chaos", "flaky_proxy"):
            del sys.modules[name]


@pytest.fixture(scope="module")
def folder(chaos: Any, site: Site) -> Path:
    """The folder of all tests here, so that they share a cluster; after a harm to it, the one that took its place."""
    job = chaos.JOB.replace("{use: non_saturating}", "{use: 'patient:Patient'}").replace("300 steps", "160 steps")
    (site.root / "job.yaml").write_text(job.replace("{env:", f"{{code: {json.dumps(str(site.root))}, env:"))
    return site.root


@pytest.fixture(scope="module")
def undisturbed(chaos: Any, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Checksums of the last checkpoint of two processes without Ray."""
    run = tmp_path_factory.mktemp("undisturbed")
    spec = load_job(folder / "job.yaml", roots=[str(folder)])
    train_together(2, [Training(spec.model_dump(mode="json", by_alias=True), str(run), data="job")])
    return dict(json.loads(sorted((run / "checkpoints").glob("*/meta.json"))[-1].read_text())["checksums"])


@pytest.mark.parametrize("kind", ["kill worker", "two resumes at once", "kill raylet"])
def test_no_bit_is_lost(chaos: Any, folder: Path, undisturbed: dict[str, str], kind: str) -> None:
    """A worker is started again; a driver is killed and its run resumed, twice at once; a cluster is replaced."""
    number = list(chaos.HARMS).index(kind)
    found = chaos.play(folder, number, kind, seed=SEED, freeze_s=5.0, expected=undisturbed)
    assert found.ended and not found.hung, found
    assert found.same, found
    assert found.tracebacks == 0, found
    assert ("submit --resume" in found.commands) == (kind == "kill raylet"), found
