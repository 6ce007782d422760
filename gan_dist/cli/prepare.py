"""Commands about data: `prepare`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gan_dist.cli.options import Address, Json, check_address
from gan_dist.cli.output import console, emit, say, size
from gan_dist.errors import UsageError

if TYPE_CHECKING:
    from gan_dist.data.facts import DataFacts
    from gan_dist.data.prepare import Prepared
    from gan_dist.spec.image_size import Size

Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Read by so many tasks of a Ray cluster at a time, which must see SRC and DST."),
]
Codec = Annotated[
    str | None,
    typer.Option(
        help="Store latents by this autoencoder: a run of jobs/autoencoder.yaml, a folder of diffusers, or your own "
        "`package.module:Name` (with --inspect: which made them).",
        metavar="CODEC",
    ),
]
Code = Annotated[Path, typer.Option(help="Folder with your own data set or autoencoder.", metavar="DIR")]
Length = Annotated[
    int | None, typer.Option(metavar="TOKENS", help="Prepare text: sentences of at most so many tokens.", min=2)
]


def prepare(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="What `data.source` may name; with --inspect a prepared folder.")
    ],
    target: Annotated[
        str | None, typer.Argument(metavar="DST", help="Where the shards go: a folder or URI. Not with --inspect.")
    ] = None,
    pixels: Annotated[
        str, typer.Option("--size", metavar="N|HxW", help="Pixels to resize to: 64, or 64x96 (height x width).")
    ] = "64",
    channels: Annotated[str, typer.Option(help="auto, 1 (grey), 3 (colour) or 4 (with transparency).")] = "auto",
    labels: Annotated[str, typer.Option(help="none, folders, source or vectors.")] = "none",
    fit: Annotated[str, typer.Option(help="How images get the shape of --size: crop, pad or stretch.")] = "crop",
    background: Annotated[str, typer.Option(help="Colour under transparency and around padded images.")] = "black",
    max_rejected: Annotated[float, typer.Option(help="Share of samples that may be broken.", min=0, max=1)] = 0.01,
    length: Length = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", "-o", metavar="KEY=VALUE", help="Another key of `data`: -o tokens=characters."),
    ] = None,
    inspect: Annotated[
        bool, typer.Option("--inspect", help="Show what a prepared folder holds, and write a contact sheet.")
    ] = False,
    encode: Codec = None,
    code: Code = Path("."),
    workers: Workers = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Decode images or text once into shards that jobs start from at once: then `data: {source: DST}`.

    Interrupted and run again, it goes on where it was.
    """
    if inspect:
        _inspect(source, code, encode, as_json)
        return
    from gan_dist.spec.job_file import overrides_document

    if target is None:
        raise UsageError("DST is missing: gan-dist prepare SRC DST")
    options: dict[str, Any] = {"max_rejected": max_rejected} | ({} if labels == "none" else {"labels": labels})
    if length is not None:
        options |= {"modality": "text", "length": length}
    else:
        options |= {"size": _size(pixels), "channels": channels if channels == "auto" else _whole(channels)}
        options |= {"fit": fit, "background": background}
    options |= overrides_document([*_encode_keys(encode), *(sets or [])]).value
    check_address(address, workers)
    if workers is None:
        made = _make(source, target, options, code)
    else:
        cluster: dict[str, Any] = {"workers": workers, "address": address, "as_json": as_json}
        made = _make_on_cluster(source, target, options=options, code=code, **cluster)
    if as_json:
        emit({"folder": made.folder.uri, **made.facts.as_dict()})
        return
    for line in _lines(made):
        say(line)
    say(f"use it     data: {{source: {made.folder.uri}, {_key(made.facts)}}}")


def _encode_keys(codec: str | None) -> list[str]:
    """What of `data` names an autoencoder, as overrides; arguments of a person's own may be laid on it."""
    if codec is None:
        return []
    from gan_dist.spec.fields import is_own_name

    return [f"encode.use={json.dumps(codec)}" if is_own_name(codec) else f"encode={json.dumps(codec)}"]


def _make(source: str, target: str, options: dict[str, Any], code: Path) -> Prepared:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from gan_dist.data.executors import write_shards_on_processes
    from gan_dist.data.prepare import prepare_into
    from gan_dist.registry.lookup import add_import_roots
    from gan_dist.spec.check import validate_data
    from gan_dist.spec.data import ImageData

    add_import_roots([code])
    data = validate_data({"source": source, **options})
    columns = (
        TextColumn("preparing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(aside=True), transient=True) as bar:

        def told(what: str) -> Callable[[int, int], None]:
            task = bar.add_task(what, total=None)
            return lambda done, total: bar.update(task, completed=done, total=total)

        progress = told("shards")
        if isinstance(data, ImageData) and data.encode is not None:
            from gan_dist.generation.codec_source import encode_into
            from gan_dist.generation.model import load_generator

            encoding = told("images encoded")
            return encode_into(data, target, load_generator, progress=progress, encoding=encoding)
        return prepare_into(data, target, write_shards_on_processes, progress)


def _make_on_cluster(
    source: str,
    target: str,
    *,
    options: dict[str, Any],
    code: Path,
    workers: int,
    address: str | None,
    as_json: bool,
) -> Prepared:
    """The same by a Ray job, followed to its end; raises ValueError where it fails."""
    if "encode" in options:
        raise UsageError("--encode runs in this process; leave out --workers")
    from gan_dist.cli.cluster import run_on_cluster
    from gan_dist.data.prepare import open_prepared
    from gan_dist.runs.storage import Folder
    from gan_dist.spec.check import validate_data
    from gan_dist.spec.data import is_own_data
    from gan_dist.spec.sections import EnvironmentSpec

    folder = Folder.at(target)
    data = validate_data({"source": source, **options}).with_absolute_paths().model_dump(mode="json")
    arguments = {"data": data, "target": folder.uri, "workers": workers}
    run_on_cluster(
        "prepare",
        arguments,
        environment=EnvironmentSpec(code=str(code)) if is_own_data(source) else None,
        address=address,
        to_stderr=as_json,
    )
    made = open_prepared(folder)
    if made is None:
        raise UsageError(f"{folder.uri!r} is not seen from here, though it was written; the cluster must share it")
    return made


def _inspect(source: str, code: Path, encode: str | None, as_json: bool) -> None:
    from gan_dist.data.facts import LatentFacts
    from gan_dist.data.prepare import open_prepared
    from gan_dist.generation.samples import contact_sheet
    from gan_dist.registry.lookup import add_import_roots
    from gan_dist.runs.storage import Folder

    found = open_prepared(Folder.at(source))
    if found is None:
        raise UsageError(
            f"{source!r} is no prepared folder (no manifest.json in it); gan-dist prepare SRC DST makes one"
        )
    facts = found.facts
    made_by = facts.codec_record.get("use") if isinstance(facts, LatentFacts) else None
    if made_by is not None and made_by != encode:
        raise UsageError(
            f"--encode: {source!r} holds latents of somebody's own code, which shows them; if that is yours, or you "
            f"trust it: --encode {made_by}"
        )
    add_import_roots([code])
    sheet = contact_sheet(found, Path(f"{Path(found.folder.uri).name}-sheet"))
    if as_json:
        emit({"folder": found.folder.uri, **found.manifest, "sheet": str(sheet)})
        return
    for line in _lines(found):
        say(line)
    for line in _lengths(found):
        say(line)
    say(f"sheet      {sheet}")


def _lines(found: Prepared) -> list[str]:
    facts, shards = found.facts, found.manifest["shards"]
    counted = ", ".join(f"{n} {c:,}" for n, c in zip(facts.classes, facts.class_counts, strict=True))
    lines = [
        f"folder     {found.folder.uri}",
        f"source     {found.manifest['source']}",
        f"samples    {facts.count:,} {facts.described}, {size(found.bytes)} in {len(shards)} shards",
        f"classes    {counted or ('vectors' if facts.vectors else 'none')}",
        f"checksum   {facts.checksum}",
        f"rejected   {len(facts.rejected)}",
    ]
    lines += [f"           {name}: {why}" for name, why in facts.rejected[:10]]
    return lines + [f"read       {remark}" for remark in facts.remarks]


def _lengths(found: Prepared) -> list[str]:
    """How long the sentences are, as bars; nothing for images."""
    from gan_dist.data.encoding.text import histogram
    from gan_dist.data.facts import TextFacts
    from gan_dist.generation.samples import sentence_lengths

    facts = found.facts
    return histogram(sentence_lengths(found), facts.codec.length) if isinstance(facts, TextFacts) else []


def _key(facts: DataFacts) -> str:
    """What a job says of prepared data beside their place."""
    from gan_dist.data.facts import ImageFacts, LatentFacts, TextFacts
    from gan_dist.spec.image_size import show_size

    if isinstance(facts, TextFacts):
        return f"modality: text, length: {facts.codec.length}"
    assert isinstance(facts, ImageFacts)
    if not isinstance(facts, LatentFacts):
        return f"size: {show_size(facts.size)}"
    own = facts.codec_record.get("use")
    return f"size: {show_size(facts.picture_size)}" + ("" if own is None else f", encode: {{use: {own}}}")


def _size(text: str) -> Size:
    from gan_dist.spec.image_size import parse_size_text

    return parse_size_text(text)


def _whole(text: str) -> int | str:
    return int(text) if text.isdigit() else text
