"""Samples in any number: a plan, cut into numbered ranges that any machine can make, and the forms they are kept in.

Pictures become PNG files, rows of a Parquet table, or a zip; sentences lines of text. A range of samples is one file.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from gan_dist.data.encoding import image, text
from gan_dist.data.facts import DataFacts, ImageFacts, TextFacts
from gan_dist.distributed.runtime import pick_device
from gan_dist.errors import UsageError
from gan_dist.generation.model import Model, load
from gan_dist.generation.samples import CHUNK
from gan_dist.runs.storage import SAMPLES_MARK, Folder

NAMED = 20  # letters of a prefix in the name of a file
MOST, MOST_BYTES = 1024, 64 << 20
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


class SampleRange(NamedTuple):
    """Consecutive samples of one seed, `many` from `first` on; `number` is the place of this range in the plan."""

    number: int
    seed: int
    first: int
    many: int


@dataclass(frozen=True)
class SamplingPlan:
    """What is drawn: all that decides a sample, and the form it is kept in.

    Attributes:
        checkpoint: folder of a checkpoint or of an exported generator.
        seeds, n: the first n samples of each seed.
        form: png, parquet or txt.
        weights, truncation, truncation_layers, cls: as in `gan_dist.load` and `Model.sample`.
        temperature, top_k, top_p, min_p, prefix, allow_unk: of text, as in `Model.sample`.
        prompts: what sentences follow, as in `Model.sample`; none for some of the data's.
        backward: as in `gan_dist.load`.
        device: auto, cpu or cuda; a seed's samples are the same on one kind of device.
    """

    checkpoint: str
    seeds: Sequence[int]
    n: int
    form: str = "png"
    weights: str = "ema"
    truncation: float | None = None
    cls: str | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    prefix: str | None = None
    allow_unk: bool = False
    prompts: Sequence[str] = field(default_factory=list)
    device: str = "cpu"
    trust_code: bool = False
    backward: bool = False
    truncation_layers: Sequence[int] | None = None

    def model(self) -> Model:
        """The model that draws them. Raises what `load` and `Model.drawing` raise."""
        found = load(
            self.checkpoint,
            device=pick_device(self.device),
            weights=self.weights,
            backward=self.backward,
            trust_code=self.trust_code,
        )
        with self.drawing_of(found):
            return found

    def differences(self, model: Model) -> str:
        """What tells these samples from the model's plain ones, for the name of a file: `-class7-t0.7-raw`."""
        label = None if self.cls is None else re.sub(r"[^\w.+-]+", "_", self.cls)
        prefix = None if self.prefix is None else re.sub(r"\W+", "_", self.prefix)[:NAMED]
        asked = re.sub(r"\W+", "_", self.prompts[0])[:NAMED] if len(self.prompts) == 1 else None
        bounded = self.truncation_layers and f"{min(self.truncation_layers)}-{max(self.truncation_layers)}"
        named = {"-class": label, "-psi": self.truncation, "-layers": bounded, "-t": self.temperature}
        named |= {"-k": self.top_k, "-p": self.top_p, "-m": self.min_p}
        found = "".join(
            f"{sign}{value:g}" if isinstance(value, int | float) else f"{sign}{value}"
            for sign, value in (named | {"-after_": prefix, "-to_": asked}).items()
            if value is not None
        )
        return (
            found
            + ("-unk" if self.allow_unk else "")
            + ("" if self.weights == "ema" or model.spec.ema is None else f"-{self.weights.replace(':', '')}")
        )

    def drawing_of(self, model: Model) -> AbstractContextManager[None]:
        """Inside, the model draws as this plan says."""
        return model.drawing(
            truncation=self.truncation,
            truncation_layers=self.truncation_layers,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            prefix=self.prefix,
            allow_unk=self.allow_unk,
        )

    def sample_ranges(self, facts: DataFacts) -> list[SampleRange]:
        """What is to be made, at most 1024 samples or 64 MiB of pixels at a time."""
        size = MOST
        if isinstance(facts, ImageFacts):
            each = math.prod(facts.shape)
            size = min(MOST, max(1, MOST_BYTES // each // CHUNK) * CHUNK)
        places = [(seed, first) for seed in self.seeds for first in range(0, self.n, size)]
        return [
            SampleRange(number, seed, first, min(size, self.n - first)) for number, (seed, first) in enumerate(places)
        ]

    def content(self, model: Model, sample_range: SampleRange) -> bytes:
        """A range of samples as a file's content."""
        prefix = f"seed{sample_range.seed}-" if len(self.seeds) > 1 else ""
        prompts = self.prompts or None
        conditions = model.conditions_of(sample_range.many, self.cls, sample_range.first, prompts)
        chunks = model.sample_chunks(
            sample_range.many, seed=sample_range.seed, class_label=self.cls, prompt=prompts, first=sample_range.first
        )
        labels = None if conditions is None else conditions.tolist()
        with self.drawing_of(model):
            return encode_samples(
                chunks, self.form, facts=model.facts, place=sample_range, prefix=prefix, labels=labels
            )

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> SamplingPlan:
        return cls(**json.loads(text))


Labelled = int | list[float] | list[int]  # the class, the vector or the prompt of a sample
Executor = Callable[[SamplingPlan, Sequence[SampleRange]], Iterator[tuple[int, bytes]]]


def sample_in_process(sampling: SamplingPlan, ranges: Sequence[SampleRange]) -> Iterator[tuple[int, bytes]]:
    """The executor of this process: each range's number and content."""
    model = sampling.model()
    for sample_range in ranges:
        yield sample_range.number, sampling.content(model, sample_range)


def parse_seeds(written: str) -> list[int]:
    """`7`, `1-4` or `1,5,7-9` as a list of seeds, in this order.

    Raises:
        ValueError: it is none of these.
    """
    found: list[int] = []
    for part in written.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise UsageError(f"seeds: {written!r} must be a number, a range such as 1-4, or several: 1,5,7-9")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    if len(set(found)) < len(found):
        raise UsageError(f"seeds: {written!r} names a seed twice")
    return found


PLAN_FILE = "sampling.json"


def write_samples(
    sampling: SamplingPlan, model: Model, out: Path, *, executor: Executor, progress: Callable[[int, int], None]
) -> Path:
    """Make what is missing, then the result; its path: the target, or the text file in a folder.

    Args:
        model: that of the sampling, which says what its samples are.
        out: a folder, or a file whose ending says its form.
        progress: told how many ranges are done, of how many.

    Raises:
        ValueError: samples of this kind have no such form, or what one asks of the model it has not.
        StorageError: it cannot be written.
    """
    assert sampling.form == output_format(out, model.facts)
    folder_of_ours = None if out.suffix or (out.is_dir() and any(out.iterdir())) else out
    if sampling.form == "txt" and (out.is_dir() or not out.suffix):
        out.mkdir(parents=True, exist_ok=True)
        out = out / "samples.txt"
    model.conditions_of(1, sampling.cls, prompt=sampling.prompts or None)
    ranges = sampling.sample_ranges(model.modality.real_facts)
    parts = _parts(sampling, model, out)
    names = {one.number: f"{one.number:06d}{SUFFIXES[sampling.form]}" for one in ranges}
    there = set(parts.names())
    missing = [one for one in ranges if names[one.number] not in there]
    done = len(ranges) - len(missing)
    progress(done, len(ranges))
    for number, content in executor(sampling, missing) if missing else ():
        parts.write(names[number], content)
        done += 1
        progress(done, len(ranges))
    folder = Path(parts.uri)
    count = join_parts([folder / names[one.number] for one in ranges], out, sampling.form)
    assert count == sampling.n * len(sampling.seeds)
    if folder_of_ours is not None and folder_of_ours.is_dir():
        (folder_of_ours / SAMPLES_MARK).write_text(sampling.to_json())
    shutil.rmtree(folder)
    return out


def _parts(sampling: SamplingPlan, model: Model, out: Path) -> Folder:
    """Where the parts are; parts left by a different plan or other weights are deleted."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Folder.at(out.with_name(f".{out.name}.parts"))
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in model.generator.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().view(-1).numpy().tobytes())
    plan = {**json.loads(sampling.to_json()), "weights_digest": digest.hexdigest()}
    if folder.read_json(PLAN_FILE) != plan:
        folder.delete()
        folder.write_json(PLAN_FILE, plan)
    return folder


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
    *,
    facts: DataFacts,
    place: SampleSlice,
    prefix: str,
    labels: Sequence[Labelled] | None,
) -> bytes:
    """Samples as the content of one file.

    Args:
        chunks: uint8 pixels [n, C, H, W], or token ids [n, T].
        form: png, parquet or txt.
        place: which samples these are.
        prefix: of the pictures' names.
        labels: the class, the vector or the prompt of each sample, where there are some.
    """
    if form == "txt":
        assert isinstance(facts, TextFacts)
        lines = [line for chunk in chunks for line in text.decode_lines(chunk, facts.codec)]
        if facts.codec.prompt is not None:
            lines = ["\t".join(both) for both in zip(_prompts(facts, labels), lines, strict=True)]
        return "".join(f"{line}\n" for line in lines).encode()
    if form == "parquet":
        return _table(chunks, facts, place, prefix, labels)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, content in enumerate(_pictures(chunks)):
            info = zipfile.ZipInfo(f"{prefix}{place.first + number:06d}.png", LONG_AGO)
            # The label travels with its picture.
            info.comment = b"" if labels is None else json.dumps(labels[number]).encode()
            archive.writestr(info, content)
    return buffer.getvalue()


def _pictures(chunks: Iterable[Tensor]) -> Iterable[bytes]:
    return (image.encode_png(image.make_grid(pixels[None], 1)) for chunk in chunks for pixels in chunk)


def _table(
    chunks: Iterable[Tensor], facts: DataFacts, place: SampleSlice, prefix: str, labels: Sequence[Labelled] | None
) -> bytes:
    """Columns seed, number, label or prompt where there are conditions, and image ({bytes, path}, as hubs have it) or
    text."""
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
    if isinstance(facts, TextFacts) and facts.codec.prompt is not None:
        columns["prompt"] = _prompts(facts, labels)
    elif labels is not None:
        columns["label"] = list(labels)
        if facts.classes:
            features["label"] = {"names": list(facts.classes), "_type": "ClassLabel"}
    table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression=_compression(columns))
    return buffer.getvalue()


def _prompts(facts: TextFacts, labels: Sequence[Any] | None) -> list[str]:
    assert labels is not None, "every sample of such a model follows a prompt"
    return [facts.codec.prompt_text(row) for row in labels]


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
    """One archive, with the labels in `dataset.json`, as StyleGAN has them."""
    labels: list[tuple[str, Labelled]] = []
    count = 0
    with zipfile.ZipFile(fresh, "w") as archive:
        for part in parts:
            with zipfile.ZipFile(part) as source:
                for info in source.infolist():
                    archive.writestr(zipfile.ZipInfo(info.filename, LONG_AGO), source.read(info))
                    labels += [(info.filename, json.loads(info.comment))] if info.comment else []
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
