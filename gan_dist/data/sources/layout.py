"""How the files of a data set lie: the folders that all are in, and which are for training, testing and validation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from gan_dist.errors import DataError

WORDS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation", "dev", "eval"),
}
SPLIT_OF = {word: split for split, words in WORDS.items() for word in words}
_IN_NAME = re.compile(rf"(?:^|[-_.])({'|'.join(SPLIT_OF)})(?=[-_.\d]|$)", re.IGNORECASE)


class Layout(NamedTuple):
    """Which of some files are used: their places, their names below the folders that all are in, and what is said of
    the others."""

    kept: list[int]
    tails: list[str]
    remarks: list[str]


def split_folders(names: Sequence[str], asked: str) -> Layout:
    """The files of one split, where the folders below the source are splits; all files where they are none.

    Args:
        names: of all files, with `/`.
        asked: `data.split`: auto (train, where there are splits), all, or the name of one.

    Raises:
        DataError: there is no such split.
    """
    tails = without_common_folders(names)
    splits = [SPLIT_OF.get(name.partition("/")[0].lower()) if "/" in name else None for name in tails]
    folders = {name.partition("/")[0].lower() for name in tails if "/" in name}
    found = {SPLIT_OF[folder] for folder in folders & SPLIT_OF.keys()}
    # A folder "train" beside cars and buses is a class; beside "test" it is a split, whatever else there is.
    if folders and (folders <= SPLIT_OF.keys() or ("train" in found and len(found) > 1)):
        chosen = _choose(splits, asked, "folders")
        kept, rest = [place for place, split in enumerate(splits) if split in chosen], Counter(splits)
        below = without_common_folders([tails[place].partition("/")[2] for place in kept])
        return Layout(kept, below, _told(rest, chosen, "images"))
    _refuse_missing(asked, "folders named train, test or val")
    return Layout(list(range(len(names))), tails, [])


def split_files(names: Sequence[str], asked: str, what: str) -> Layout:
    """The files of one split, where names of files say which they are of (`train-00000-of-00002.parquet`), or the
    folders they are in do.

    Raises:
        DataError: there is no such split.
    """
    splits = [_split_in(name) for name in names]
    found = {split for split in splits if split is not None}
    wanted = "train" if asked == "auto" else asked
    if wanted == "all" or (asked == "auto" and "train" not in found and (None in splits or len(found) < 2)):
        return Layout(list(range(len(names))), list(names), [])
    if not found:
        _refuse_missing(asked, f"{what} named after train, test or val")
    chosen = _choose(splits, asked, what)
    kept = [place for place, split in enumerate(splits) if split in chosen]
    return Layout(kept, [names[place] for place in kept], _told(Counter(splits), chosen, what))


def without_common_folders(names: Sequence[str]) -> list[str]:
    """Names without the folders that all of them are in, up to the last but one: what is handed on is often one folder
    with everything in it, and that is no class."""
    if not names:
        return []
    parts = [name.split("/") for name in names]
    while len(parts[0]) > 2 and all(len(part) > 2 and part[0] == parts[0][0] for part in parts):
        parts = [part[1:] for part in parts]
    return ["/".join(part) for part in parts]


def _split_in(name: str) -> str | None:
    """The split that a file's own name or a folder of its says it is of."""
    *folders, last = name.split("/")
    for part in (last, *reversed(folders)):
        if found := _IN_NAME.search(part):
            return SPLIT_OF[found[1].lower()]
    return None


def _choose(splits: Sequence[str | None], asked: str, what: str) -> set[str | None]:
    there = sorted({split for split in splits if split is not None})
    if asked == "all":
        return set(there)
    wanted = "train" if asked == "auto" else asked
    if wanted not in there:
        raise DataError(f"data.split: {asked}: the {what} are {', '.join(there)}; use one of them, or all")
    return {wanted}


def _refuse_missing(asked: str, wanted: str) -> None:
    if asked not in ("auto", "all"):
        raise DataError(f"data.split: {asked}: there are no {wanted}; leave data.split out")


def _told(counts: Counter[str | None], chosen: set[str | None], what: str) -> list[str]:
    others = [f"{split or 'outside of splits'} ({count:,})" for split, count in counts.items() if split not in chosen]
    if not others:
        return []
    used = " and ".join(sorted(split or "those outside of splits" for split in chosen))
    return [f"split: {used} is used; passed over: {', '.join(sorted(others))} {what}; data.split takes another"]
