"""Sizes as jobs and commands write them, and the rules of components about them."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from gan_dist.spec.data import ImageData
from gan_dist.spec.image_size import Size, SizeRule, parse_size, parse_size_text, show_size, sides

DOUBLED = SizeRule(least=16, most=256, base=4)


@pytest.mark.parametrize(
    ("written", "size"), [(64, 64), (64.0, 64), ([64, 96], (64, 96)), ((96, 64), (96, 64)), ([64, 64], 64)]
)
def test_a_size_is_a_number_or_height_and_width(written: Any, size: Size) -> None:
    data = ImageData(source="digits", size=written)
    assert data.size == size == parse_size(written)
    assert ImageData.model_validate_json(data.model_dump_json()) == data
    assert sides(size) == (size if isinstance(size, tuple) else (size, size))


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (3, "3 is out of range; must be at least 4"),
        (2049, "2049 is out of range; must be at most 2048"),
        (5.5, "5.5 is not a whole number"),
        ([32, 3], "[32, 3] is out of range; each side must be at least 4"),
        ([32, "48"], "[32, '48'] are not two whole numbers"),
        ([32], "[32] is no size; must be a whole number N, or a list [height, width]"),
        ("64", "'64' is no size; must be a whole number N, or a list [height, width]"),
        (True, "true is no size; must be a whole number N, or a list [height, width]"),
        (None, "null is no size; must be a whole number N, or a list [height, width]"),
    ],
)
def test_what_is_no_size(written: object, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_size(written)
    assert str(caught.value) == text


def test_sizes_of_commands() -> None:
    assert [parse_size_text(text) for text in ("64", "64x96", "96X64", "64x64")] == [64, (64, 96), (96, 64), 64]
    for text, why in (
        ("64x", "must be N, or HEIGHTxWIDTH such as 64x96"),
        ("3", "3 is out of range; must be at least"),
    ):
        with pytest.raises(ValueError, match=f"--size.*{why}"):
            parse_size_text(text)


def test_doubled_sizes_are_maps_of_four_to_seven_pixels_and_more() -> None:
    assert [side for side in range(4, 300) if DOUBLED.takes(side)] == [
        *(16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256)
    ]
    for height, width in product(range(16, 257, 4), repeat=2):
        doublings = DOUBLED.doublings((height, width))
        whole = height % 2**doublings == 0 and width % 2**doublings == 0
        assert DOUBLED.takes((height, width)) == whole and 4 <= min(height, width) / 2**doublings < 8


@pytest.mark.parametrize("rule", [DOUBLED, SizeRule(least=16, most=256, multiple=16), SizeRule(least=8, most=256)])
def test_the_nearest_size_is_nearest_of_all(rule: SizeRule) -> None:
    taken = [both for both in product(range(4, 257), repeat=2) if rule.takes(both)]
    for height, width in [(4, 4), (30, 47), (33, 200), (256, 9), (101, 100), (57, 131)]:
        found = sides(rule.nearest((height, width)))
        apart = [abs(one - height) + abs(other - width) for one, other in taken if (one == other or height != width)]
        assert rule.takes(found) and abs(found[0] - height) + abs(found[1] - width) == min(apart)


def test_rules_in_words() -> None:
    with pytest.raises(ValueError) as caught:
        SizeRule(least=16, most=1024, multiple=16).check((40, 64), "pix2pix")
    assert str(caught.value) == (
        "pix2pix makes images of 16 to 1024 pixels, both sides multiples of 16, not [40, 64]; data.size: [32, 64] is "
        "nearest"
    )
    assert show_size((40, 64)) == "[40, 64]" and show_size(40) == "40"


@pytest.mark.parametrize("said", [[16, 32], {"smallest": 16}, {"least": "16"}])
def test_what_is_no_rule(said: object) -> None:
    with pytest.raises(ValueError, match="must be a mapping of whole numbers by some of least, most, multiple, base"):
        SizeRule.of(said)
