"""A film of a run's grids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gan_dist.errors import UsageError
from gan_dist.generation.films import film_of_grids
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from tests.helpers import small
from tests.training.test_averages import stored_run


def test_the_film_of_a_run_shows_each_grid(tmp_path: Path, cli: Callable[..., tuple[Any, str, str]]) -> None:
    root = stored_run(small(until="4 steps", every={"grid": "1 steps"}), tmp_path / "grids-run")
    code, _, err = cli("results", str(root), "--film", str(tmp_path / "film.gif"))
    assert code == 0, err
    code, _, err = cli("results", str(root), "--film", str(tmp_path / "film.gif"))
    assert code == 2 and "is there already; choose another name, or --force" in err
    film = Image.open(tmp_path / "film.gif")
    grid = Image.open(root / "grids" / "000000000000.png")
    assert film.height > grid.height and 5 <= film.n_frames <= 5 + 8, "equal frames at the end may be one"
    with pytest.raises(UsageError, match=r"--film 'film.avi': a film is a file of .gif, .mp4, .webm"):
        film_of_grids(RunFolder(Folder.at(root)), Path("film.avi"))
    with pytest.raises(UsageError, match="has no pictures of samples"):
        film_of_grids(RunFolder(Folder.at(tmp_path / "empty")), Path("film.gif"))
