"""The forms in which many samples are kept: pictures as PNG files, rows of a Parquet table, lines of text.

A stretch of samples is one file: a zip of pictures, a Parquet file, or a text file. `join_parts` makes one result of them.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from gan_dist.data.encoding import image, text
from gan_dist.data.facts import DataFacts, TextFacts
from gan_dist.errors import UsageError

SUFFIXES = {"png": ".zip", "parquet": ".parquet", "txt": ".txt"}
LONG_AGO = (1980, 1, 1, 0, 0, 0)


class SampleSlice(Protocol):
    """Which samples: so many of a seed, from a number on."""

    @property
    def seed(self) -> int: ...
    @property
    def first(self) -> int: ...


def output_format(out: Path, facts: DataFacts) -> str:
    """The form that a path asks for by its ending; without one it is a folder.

    Raises:
        ValueError: samples of this kind have no such form.
    """
    of_text = isinstance(facts, TextFacts)
    forms = {"": "txt", ".txt": "txt", ".parquet": "parquet"} if of_text else {"": "png", ".zip": "png"}
    forms |= {".parquet": "parquet"}
    suffix = out.suffix.lower() if not out.is_dir() else ""
    if suffix not in forms:
        known = ", ".join(filter(None, forms))
        raise UsageError(f"--out {str(out)!r}: {facts.described} are written into a folder, or a file of {known}")
    return forms[suffix]


def encode_samples(
    chunks: Iterable[Tensor],
    form: str,
    facts: DataFacts,
    place: SampleSlice,
    prefix: str,
    classes: Sequence[int] | None,
) -> bytes:
    """Samples as the content of one file.

    Args:
        chunks: uint8 pixels [n, C, H, W], or token ids [n, T].
        form: png, parquet or txt.
        place: which samples these are.
        prefix: of the pictures' names.
        classes: of each sample, where there are classes.
    """
    if form == "txt":
        assert isinstance(facts, TextFacts)
        return "".join(f"{line}\n" for chunk in chunks for line in text.decode_lines(chunk, facts.codec)).encode()
    if form == "parquet":
        return _table(chunks, facts, place, prefix, classes)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, content in enumerate(_pictures(chunks)):
            info = zipfile.ZipInfo(f"{prefix}{place.first + number:06d}.png", LONG_AGO)
            # The class travels with its picture.
            info.comment = b"" if classes is None else str(classes[number]).encode()
            archive.writestr(info, content)
    return buffer.getvalue()


def _pictures(chunks: Iterable[Tensor]) -> Iterable[bytes]:
    return (image.encode_png(image.make_grid(pixels[None], 1)) for chunk in chunks for pixels in chunk)


def _table(
    chunks: Iterable[Tensor], facts: DataFacts, place: SampleSlice, prefix: str, classes: Sequence[int] | None
) -> bytes:
    """Columns seed, number, label with classes, and image ({bytes, path}, as dataset hubs have it) or text."""
    columns: dict[str, Any] = {}
    if isinstance(facts, TextFacts):
        columns["text"] = [line for chunk in chunks for line in text.decode_lines(chunk, facts.codec)]
    else:
        columns["image"] = [
            {"bytes": content, "path": f"{prefix}{place.first + number:06d}.png"}
            for number, content in enumerate(_pictures(chunks))
        ]
    count = len(next(iter(columns.values())))
    numbers = range(place.first, place.first + count)
    columns |= {"seed": [place.seed] * count, "number": list(numbers)}
    features: dict[str, Any] = {} if "text" in columns else {"image": {"_type": "Image"}}
    if classes is not None:
        columns["label"] = list(classes)
        features["label"] = {"names": list(facts.classes), "_type": "ClassLabel"}
    table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression=_compression(columns))
    return buffer.getvalue()


def _compression(columns: Collection[str]) -> str:
    """PNG files are compressed already."""
    return "zstd" if "text" in columns else "none"


def join_parts(parts: Sequence[Path], out: Path, form: str) -> int:
    """Make one result of the parts' files, whole or not at all; how many samples are in it."""
    fresh = out.with_name(f".{out.name}.new")
    if form == "png" and (out.is_dir() or out.suffix.lower() != ".zip"):
        return _unpacked(parts, out, fresh)
    if form == "png":
        count = _zip(parts, fresh)
    elif form == "parquet":
        count = _parquet(parts, fresh)
    else:
        with fresh.open("wb") as stream:
            for part in parts:
                stream.write(part.read_bytes())
        with fresh.open("rb") as stream:
            count = sum(1 for _ in stream)
    os.replace(fresh, out)
    return count


def _unpacked(parts: Sequence[Path], out: Path, fresh: Path) -> int:
    """Pictures in a folder, which appears when it is full; of one with other files in it, theirs are replaced."""
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for part in parts:
        with zipfile.ZipFile(part) as archive:
            archive.extractall(fresh)
    count = len(os.listdir(fresh))
    move_into_place(fresh, out)
    return count


def move_into_place(fresh: Path, out: Path) -> None:
    """Let a full folder appear; where one with other files is, those of the same names are replaced."""
    if not out.is_dir() or not any(out.iterdir()):
        os.replace(fresh, out)
        return
    for path in sorted(path for path in fresh.rglob("*") if path.is_file()):
        target = out / path.relative_to(fresh)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
    shutil.rmtree(fresh)


def _zip(parts: Sequence[Path], fresh: Path) -> int:
    """One archive, with the classes in `dataset.json`, as StyleGAN has them."""
    labels: list[tuple[str, int]] = []
    count = 0
    with zipfile.ZipFile(fresh, "w") as archive:
        for part in parts:
            with zipfile.ZipFile(part) as source:
                for info in source.infolist():
                    archive.writestr(zipfile.ZipInfo(info.filename, LONG_AGO), source.read(info))
                    labels += [(info.filename, int(info.comment))] if info.comment else []
                    count += 1
        if labels:
            archive.writestr(zipfile.ZipInfo("dataset.json", LONG_AGO), json.dumps({"labels": labels}))
    return count


def _parquet(parts: Sequence[Path], fresh: Path) -> int:
    count = 0
    schema = pq.read_schema(parts[0])
    with pq.ParquetWriter(fresh, schema, compression=_compression(schema.names)) as writer:
        for part in parts:
            table = pq.read_table(part)
            writer.write_table(table)
            count += len(table)
    return count
