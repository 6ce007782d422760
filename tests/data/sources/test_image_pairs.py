"""Pairs of images: how they are found, what is rejected, and that both sides are treated alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gan_dist.data.encoding import image
from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.facts import PairFacts, facts_from_record
from gan_dist.data.ingest import load_into_memory
from gan_dist.data.prepare import Prepared, prepare_into, prepare_or_load
from gan_dist.data.source import Part
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.errors import DataError
from gan_dist.generation.modality import SampleGrids, TargetImages, _choose_rows, modality_of
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import PairData


def picture(value: int, size: tuple[int, int] = (8, 8), mode: str = "L") -> Image.Image:
    return Image.new(mode, size, value if mode == "L" else (value, 0, 0))


def save(folder: Path, name: str, one: Image.Image) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    one.save(path)


def read(tmp_path: Path, **data: Any) -> Prepared:
    spec = PairData(**{"modality": "pair", "size": 8, "max_rejected": 0.9, **data})
    return prepare_or_load(
        spec, Folder.at(tmp_path / "cache"), executor=write_shards_on_processes, progress=lambda *_: None
    )


def values(found: Prepared) -> list[tuple[int, int]]:
    """(what is to be made, what it is made of), by the mean of each."""
    rows = load_into_memory(found, 0, 1)
    stored, _ = rows.rows(np.arange(found.facts.count))
    made, given = image.split_pair(stored)
    return [(round(m.float().mean().item()), round(g.float().mean().item())) for m, g in zip(made, given, strict=True)]


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name, value in (("a.png", 10), ("b/c.jpg", 20), ("d.png", 30)):
        save(tmp_path / "made", name, picture(value))
    for name, value in (("a.bmp", 110), ("b/c.png", 120), ("d.png", 130)):
        save(tmp_path / "given", name, picture(value))
    return tmp_path


def test_two_folders_are_joined_by_names_without_ends(folders: Path) -> None:
    found = read(folders, source=str(folders / "made"), inputs=str(folders / "given"))
    assert values(found) == [(10, 110), (20, 120), (30, 130)]
    facts = found.facts
    assert isinstance(facts, PairFacts) and facts_from_record(facts.as_dict()) == facts
    assert (facts.channels, facts.input_channels, facts.shape, facts.provided["input_channels"]) == (1, 1, (1, 8, 8), 1)
    assert facts.described == "pairs of images of 8x8 grey"


@pytest.mark.parametrize(("side", "expected"), [("left", (200, 100)), ("right", (100, 200))])
def test_one_file_holds_both(tmp_path: Path, side: str, expected: tuple[int, int]) -> None:
    both = picture(100, (16, 8))
    both.paste(picture(200), (8, 0))
    save(tmp_path / "in", "a.png", both)
    assert values(read(tmp_path, source=str(tmp_path / "in"), side=side)) == [expected]


def test_what_is_no_pair_is_rejected_with_its_reason(folders: Path) -> None:
    save(folders / "made", "lonely.png", picture(1))
    save(folders / "given", "forlorn.png", picture(1))
    save(folders / "made", "d.jpg", picture(1))
    (folders / "given" / "b" / "c.png").write_bytes(b"")
    found = read(folders, source=str(folders / "made"), inputs=str(folders / "given"))
    assert values(found) == [(10, 110)]
    assert dict(found.facts.rejected) == {
        "lonely.png": f"no image of that name in {str(folders / 'given')!r}",
        "forlorn.png": f"no image of that name in {str(folders / 'made')!r}",
        "d.jpg": "several images of one name: d.jpg, d.png",
        "b/c.jpg": "empty file",
    }


def test_an_odd_width_has_no_halves(tmp_path: Path) -> None:
    save(tmp_path / "in", "a.png", picture(100, (16, 8)))
    save(tmp_path / "in", "odd.png", picture(100, (17, 8)))
    found = read(tmp_path, source=str(tmp_path / "in"))
    assert found.facts.rejected == (("odd.png", "a width of 17 pixels has no two halves"),)


def test_a_pair_with_colour_on_one_side_is_coloured(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "made", f"{number}.png", picture(50, mode="RGB"))
        save(tmp_path / "given", f"{number}.png", picture(60))
    found = read(tmp_path, source=str(tmp_path / "made"), inputs=str(tmp_path / "given"), channels=3)
    stored, _ = load_into_memory(found, 0, 1).rows(np.arange(1))
    assert stored.shape == (1, 6, 8, 8) and stored[0, :, 0, 0].tolist() == [50, 0, 0, 60, 60, 60]


def test_folders_that_do_not_fit_are_refused(folders: Path) -> None:
    save(folders / "other", "x.png", picture(1))
    with pytest.raises(DataError, match=r"data.inputs: no image has the same name in .*'a' in one, 'x' in the other"):
        read(folders, source=str(folders / "made"), inputs=str(folders / "other"))
    (folders / "empty").mkdir()
    with pytest.raises(DataError, match=r"data.inputs: no images in .*empty"):
        read(folders, source=str(folders / "made"), inputs=str(folders / "empty"))
    with pytest.raises(DataError, match=r"data.inputs: .*nowhere' does not exist"):
        read(folders, source=str(folders / "made"), inputs=str(folders / "nowhere"))
    with pytest.raises(DataError, match=r"data.source: .*is a file; pairs are read from folders of images"):
        read(folders, source=str(folders / "made" / "a.png"), inputs=str(folders / "given"))


def test_a_changed_input_is_prepared_anew(folders: Path) -> None:
    first = read(folders, source=str(folders / "made"), inputs=str(folders / "given"))
    assert read(folders, source=str(folders / "made"), inputs=str(folders / "given")).folder == first.folder
    save(folders / "given", "a.bmp", picture(111, (9, 9)))
    again = read(folders, source=str(folders / "made"), inputs=str(folders / "given"))
    assert again.folder != first.folder and values(again)[0] == (10, 111)


def test_a_prepared_folder_serves_pairs_and_nothing_else(folders: Path) -> None:
    data = PairData(modality="pair", size=8, source=str(folders / "made"), inputs=str(folders / "given"))
    prepare_into(data, str(folders / "ready"), write_shards_on_processes, lambda *_: None)
    assert values(read(folders, source=str(folders / "ready"))) == [(10, 110), (20, 120), (30, 130)]
    from gan_dist.spec.data import ImageData

    with pytest.raises(DataError, match=r"data.inputs: .*ready' is prepared and holds both sides of its pairs"):
        read(folders, source=str(folders / "ready"), inputs=str(folders / "given"))
    with pytest.raises(DataError, match=r"data.modality: image, but .*ready' was prepared with pairs of images"):
        prepare_or_load(
            ImageData(source=str(folders / "ready"), size=8),
            Folder.at(folders / "c"),
            executor=write_shards_on_processes,
            progress=lambda *_: None,
        )


def test_parts_survive_json(folders: Path) -> None:
    from dataclasses import asdict

    from gan_dist.data.sources.registry import find_source

    (part,) = find_source(
        PairData(modality="pair", size=8, source=str(folders / "made"), inputs=str(folders / "given"))
    ).parts
    assert Part.of(asdict(part)) == part


def test_both_sides_are_mirrored_together() -> None:
    pixels = torch.arange(256 * 2 * 4, dtype=torch.float32).view(256, 2, 2, 2).remainder(256).to(torch.uint8)
    encoded = image.make_encoder(torch.device("cpu"), torch.float64, xflip=True)
    made, given = image.split_pair(
        encoded(pixels, lambda purpose: single_lane_rng((purpose,), 256, torch.device("cpu")))
    )
    plain_made, plain_given = image.split_pair(image.encode(pixels, torch.device("cpu"), torch.float64))
    turned = (made != plain_made).flatten(1).any(1)
    assert turned.equal((given != plain_given).flatten(1).any(1)) and 90 < turned.sum() < 166


class Copies(torch.nn.Module):
    """Makes of a picture the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def draw(self, n: int, rng: Any) -> torch.Tensor:
        return rng.normal(1)

    def forward(self, noise: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
        assert len(noise) == len(cond)
        return cond


def test_sheets_and_samples_for_metrics_are_of_the_same_pairs(folders: Path) -> None:
    found = read(folders, source=str(folders / "made"), inputs=str(folders / "given"))
    rows = load_into_memory(found, 0, 1)
    cpu = torch.device("cpu")
    sheet = np.asarray(SampleGrids(rows, 3, cpu).draw(Copies())[0])
    scale = sheet.shape[1] // 88  # nine pictures of 8 pixels and the lines between them
    shown = [[int(sheet[(10 * row + 4) * scale, (10 * column + 4) * scale]) for column in range(9)] for row in range(8)]
    targets = {110: 10, 120: 20, 130: 30}
    for row in shown:
        for given, made, real in zip(row[::3], row[1::3], row[2::3], strict=True):
            assert made == given and real == targets[given]
    made = modality_of(rows.facts).metric_draw(Copies(), rows, 3, cpu)(range(64, 128))
    assert made.equal(image.split_pair(rows.rows(_choose_rows(rows, 3, range(64, 128)))[0])[1])
    targets = modality_of(rows.facts).real_rows(rows)
    assert isinstance(targets, TargetImages)
    assert targets.facts.described == "images of 8x8 grey" and not isinstance(targets.facts, PairFacts)
    assert targets.rows(np.arange(3))[0].equal(image.split_pair(rows.rows(np.arange(3))[0])[0])
