"""Two domains of images: how they are found, that no picture gets a partner, and that every ingest serves the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gan_dist.data import source as parts_of_sources
from gan_dist.data.encoding import image
from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.facts import UnpairedFacts, facts_from_record
from gan_dist.data.ingest import Memory, Stream, load_into_memory
from gan_dist.data.order import DomainOrder
from gan_dist.data.prepare import Prepared, prepare_into, prepare_or_load
from gan_dist.data.sources.shapes import draw_shapes
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.errors import DataError, DataNotFound
from gan_dist.generation.modality import SampleGrids, modality_of
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import UnpairedData
from tests.helpers import CPU

HORSES, ZEBRAS = range(10, 17), range(110, 121)


def save(folder: Path, values: Any, mode: str = "L") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for value in values:
        Image.new(mode, (8, 8), value if mode == "L" else (value, 0, 0)).save(folder / f"{value}.png")


def spec_of(**data: Any) -> UnpairedData:
    return UnpairedData(**{"modality": "unpaired", "size": 8, "max_rejected": 0.9, **data})


def read(tmp_path: Path, rows: int | None = None, **data: Any) -> Prepared:
    with pytest.MonkeyPatch.context() as patch:
        if rows is not None:
            patch.setattr(parts_of_sources, "rows_of_a_part", lambda form: rows)
        cache = Folder.at(tmp_path / "cache")
        return prepare_or_load(spec_of(**data), cache, executor=write_shards_on_processes, progress=lambda *_: None)


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    save(tmp_path / "in" / "trainA", HORSES)
    save(tmp_path / "in" / "trainB", ZEBRAS)
    save(tmp_path / "in" / "testA", (1, 90))
    save(tmp_path / "in" / "testB", (101, 202, 103))
    return tmp_path


def served(rows: Memory | Stream, drawn: int) -> list[tuple[int, int]]:
    """(target, source) of a batch, by the grey of each picture."""
    target, source = image.split_pair(rows.rows(rows.positions(drawn))[0])
    return list(zip(target[:, 0, 0, 0].tolist(), source[:, 0, 0, 0].tolist(), strict=True))


def test_the_folders_of_the_published_sets(animals: Path) -> None:
    facts = read(animals, source=str(animals / "in")).facts
    assert isinstance(facts, UnpairedFacts)
    assert (facts.source_count, facts.target_count, facts.count) == (7, 11, 18)
    assert (facts.pass_length, facts.largest_batch, facts.classes) == (11, 7, ())
    assert facts.described == "unpaired images of 8x8 grey (7 of the source, 11 of the target)"
    assert facts_from_record(facts.as_dict()) == facts
    tested = read(animals, source=str(animals / "in"), split="test").facts
    assert isinstance(tested, UnpairedFacts) and (tested.source_count, tested.target_count) == (2, 3)


def test_two_folders_of_any_name_are_the_same(animals: Path) -> None:
    one = read(animals, source=str(animals / "in"))
    other = read(animals, source=str(animals / "in/trainA"), target=str(animals / "in/trainB"))
    assert one.facts.checksum == other.facts.checksum


def test_each_domain_goes_through_all_its_pictures(animals: Path) -> None:
    rows = load_into_memory(read(animals, source=str(animals / "in")), seed=3, batch=1)
    found = [served(rows, drawn)[0] for drawn in range(77)]
    for epoch in range(11):
        assert {source for _, source in found[7 * epoch : 7 * epoch + 7]} == set(HORSES)
    for epoch in range(7):
        assert {target for target, _ in found[11 * epoch : 11 * epoch + 11]} == set(ZEBRAS)
    assert len(set(found)) > 40  # 77 companies of chance, no partners


def test_domains_of_one_size_are_not_shuffled_alike() -> None:
    order = DomainOrder(0, 1, source=(50,), target=(50,))
    pairs = {tuple(order.positions(drawn)[0]) for drawn in range(150)}
    assert len(pairs) > 100
    first = np.concatenate([order.positions(drawn) for drawn in range(50)])
    assert not np.array_equal(first[:, 0] - 50, first[:, 1])


@pytest.mark.parametrize("window", [1, 2])
def test_a_stream_serves_what_memory_would(animals: Path, window: int) -> None:
    """Shards of three pictures, none with pictures of both domains."""
    found = read(animals, rows=3, source=str(animals / "in"))
    assert list(found.shards.values()) == [2, 2, 3, 2, 3, 3, 3]
    memory, stream = load_into_memory(found, 1, 2), Stream(found, window, 1, 2)
    companies = set()
    for drawn in range(0, 60, 2):
        positions = stream.positions(drawn)
        for one, other in zip(stream.rows(positions), memory.rows(positions), strict=True):
            assert torch.equal(one, other)
        for target, source in served(stream, drawn):
            assert target in ZEBRAS and source in HORSES
            companies.add((target, source))
        assert len(stream._held) <= 3 * 2 * window
        fresh = Stream(found, window, 1, 2)
        assert served(fresh, drawn) == served(stream, drawn)
    assert len(companies) > 20


def test_each_side_is_mirrored_by_itself(tmp_path: Path) -> None:
    rows = torch.arange(2 * 8 * 8, dtype=torch.uint8).view(1, 2, 8, 8).repeat(64, 1, 1, 1)
    facts = UnpairedFacts(count=9, checksum="", size=8, channels=1, input_channels=1, target_count=4)
    encode = modality_of(facts).encoder(spec_of(source="x", xflip=True), CPU, torch.float32)
    target, source = encode(rows, lambda purpose: single_lane_rng((purpose,), 64, CPU))
    assert source is not None
    turned = [one[:, 0, 0, 0] > one[:, 0, 0, 7] for one in (target, source)]
    assert 16 < int(turned[0].sum()) < 48 and not torch.equal(*turned)


def test_metrics_compare_with_the_target_alone(animals: Path) -> None:
    rows = load_into_memory(read(animals, source=str(animals / "in")), 0, 1)
    modality = modality_of(rows.facts)
    real = modality.real_rows(rows)
    assert real.facts.count == 11 == modality.real_facts.count and len(real.labels) == 11
    assert sorted(real.rows(np.arange(11))[0][:, 0, 0, 0].tolist()) == list(ZEBRAS)
    assert modality.metric_targets(rows, 0) is None
    grids = SampleGrids(rows, 0, CPU)
    assert grids.real() is not None


def test_a_prepared_folder_holds_both(animals: Path) -> None:
    data = spec_of(source=str(animals / "in"))
    prepare_into(data, str(animals / "ready"), write_shards_on_processes, lambda *_: None)
    found = read(animals, source=str(animals / "ready"))
    assert found.facts == read(animals, source=str(animals / "in")).facts
    with pytest.raises(DataError, match=r"data\.target: .* is prepared and holds both domains; remove this key"):
        read(animals, source=str(animals / "ready"), target=str(animals / "in/trainB"))


def test_what_is_no_pair_of_domains_is_refused(animals: Path) -> None:
    save(animals / "colour", (5, 6), "RGB")
    with pytest.raises(DataError, match=r"data\.channels: the source .* is grey and the target .* in colour; set data"):
        read(animals, source=str(animals / "in/trainA"), target=str(animals / "colour"))
    mixed = read(animals, source=str(animals / "in/trainA"), target=str(animals / "colour"), channels=3).facts
    assert isinstance(mixed, UnpairedFacts) and mixed.channels == 3
    (animals / "empty").mkdir()
    with pytest.raises(DataError, match=r"^data\.target: no images in"):
        read(animals, source=str(animals / "in/trainA"), target=str(animals / "empty"))
    with pytest.raises(DataNotFound, match=r"^data\.target: .*nowhere.* does not exist"):
        read(animals, source=str(animals / "in/trainA"), target=str(animals / "nowhere"))
    with pytest.raises(DataError, match=r"has no trainA and trainB \(it holds 10\.png, .*\); name the other domain"):
        read(animals, source=str(animals / "in/trainA"))
    with pytest.raises(DataError, match=r"data\.split: all, but the domains lie in trainA and trainB"):
        read(animals, source=str(animals / "in"), split="all")


def test_a_domain_of_broken_pictures_is_refused(animals: Path) -> None:
    (animals / "broken").mkdir()
    (animals / "broken" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"data\.target: no picture of this domain can be used\n  a\.png: damaged png"):
        read(animals, source=str(animals / "in/trainA"), target=str(animals / "broken"), channels=1)


def test_colour_that_shows_late_makes_both_coloured(tmp_path: Path) -> None:
    """The first look sees some pictures; a coloured one that it missed brings all to RGB."""
    save(tmp_path / "a", range(10, 17))
    save(tmp_path / "b", range(10, 17))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gan_dist.data.sources.registry.PROBED", 1)
        Image.new("RGB", (8, 8), (9, 0, 0)).save(tmp_path / "b" / "99.png")
        facts = read(tmp_path, source=str(tmp_path / "a"), target=str(tmp_path / "b")).facts
    assert isinstance(facts, UnpairedFacts) and facts.channels == 3 and facts.target_count == 8


def test_drawn_shapes_are_plain_or_striped() -> None:
    assert np.array_equal(draw_shapes(True, 7), draw_shapes(True, 7))
    steps = {
        striped: np.mean([np.abs(np.diff(draw_shapes(striped, n).astype(int), axis=0)).mean() for n in range(20)])
        for striped in (False, True)
    }
    assert steps[True] > 1.5 * steps[False]
    facts = read_shapes_facts()
    assert (facts.source_count, facts.target_count) == (1000, 1000)


def read_shapes_facts() -> UnpairedFacts:
    from gan_dist.data.sources.registry import find_source

    contents = find_source(spec_of(source="shapes-plain", target="shapes-striped")).contents
    counts = [sum(part.classes.count(domain) for part in contents.parts) for domain in (0, 1)]
    assert contents.domains and all(len(set(part.classes)) == 1 for part in contents.parts)
    common: dict[str, Any] = {"checksum": "", "size": 8, "channels": 3, "input_channels": 3}
    return UnpairedFacts(count=sum(counts), target_count=counts[1], **common)
