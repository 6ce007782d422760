"""Images in zip and tar archives, read in place; nothing is unpacked.

Zips may be StyleGAN's, with labels in `dataset.json`; tars may be WebDataset's, with labels in `KEY.cls` or `KEY.json`
beside `KEY.jpg`.
"""

from __future__ import annotations

import json
import lzma
import posixpath
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from gan_dist.data.source import Content, Label, Listing, Part, RawSample, folder_labels, state_of
from gan_dist.data.sources.image_files import is_image
from gan_dist.errors import DataError, UnreadableSample, UsageError
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import ImageData

ZIPS, TARS = (".zip",), (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
LARGEST_BYTES = 512 << 20
_JOINED = re.compile(r"(.*?\.(?:zip|tar|tar\.gz|tgz|tar\.bz2|tar\.xz))!(.*)", re.DOTALL | re.IGNORECASE)
LABELS = ("label", "class", "cls")
BROKEN = (OSError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError)
Members = list[tuple[str, int, Label]]


def is_archive(name: str) -> bool:
    return name.lower().endswith(ZIPS + TARS)


def list_archives(data: ImageData, root: Folder, names: list[str]) -> Listing:
    """The images of one archive, or of several in the order of their names."""
    members: Members = []
    for archive in sorted(names):
        members += [
            (f"{archive}!{name}", place, label)
            for name, place, label in _members(root, archive, data.labels == "source")
        ]
    where = f"{root.uri}/{names[0]}" if len(names) == 1 else root.uri
    if not members:
        raise DataError(f"data.source: no images in {where!r}")
    shown = [name for name, _, _ in members]
    labels: list[Label] = []
    if data.labels == "source":
        labels = [label for _, _, label in members]
        if all(label is None for label in labels):
            raise DataError(f"data.labels: 'source', but {where!r} carries no labels (dataset.json, .cls or .json)")
    elif data.labels == "folders":
        labels = folder_labels(_without_common_folders([_split(name)[1] for name in shown]), where)
    state = state_of(map(root.entry, sorted(names)))
    places = [place for _, place, _ in members]
    return Listing(kind="archive", where=where, state=state, root=root.uri, names=shown, labels=labels, places=places)


def read_archive(part: Part) -> Iterator[RawSample]:
    root = Folder(part.root)
    for archive, group in groupby(part.rows(), lambda row: _split(row[0])[0]):
        wanted = list(group)
        members = [(_split(name)[1], place) for name, place, _ in wanted]
        with root.seekable(archive) as stream:
            contents = _contents(stream, archive, members)
            for (name, _, label), content in zip(wanted, contents, strict=True):
                yield RawSample(name, content, label)


def _contents(stream: Any, archive: str, members: list[tuple[str, int]]) -> Iterator[Content]:
    """The members' bytes, in their order, or why there are none."""
    if archive.lower().endswith(ZIPS):
        with zipfile.ZipFile(stream) as opened:
            for name, _ in members:
                yield _guarded(name, opened.getinfo(name).file_size, lambda member=name: opened.read(member))
    elif archive.lower().endswith(".tar"):
        for name, place in members:
            yield _tar_member(stream, name, place)
    else:
        yield from _streamed(stream, members)


def _tar_member(stream: Any, name: str, place: int) -> Content:
    stream.seek(place)
    try:
        with tarfile.open(fileobj=stream, mode="r:") as opened:
            member = opened.next()
            assert member is not None
            return _guarded(name, member.size, lambda: _extracted(opened, member))
    except BROKEN as error:
        return UnreadableSample(str(error) or type(error).__name__)


def _streamed(stream: Any, members: list[tuple[str, int]]) -> list[Content]:
    """Members of a compressed tar, which can only be read from its beginning."""
    awaited = {place: name for name, place in members}
    found: dict[int, Content] = {}
    with tarfile.open(fileobj=stream, mode="r|*") as opened:
        for number, member in enumerate(opened):
            if number in awaited:
                found[number] = _guarded(awaited[number], member.size, lambda one=member: _extracted(opened, one))
            if len(found) == len(awaited):
                break
    return [found[place] for _, place in members]


def _guarded(name: str, size: int, read: Any) -> Content:
    if posixpath.isabs(name) or ".." in name.split("/"):
        return UnreadableSample("its name leads out of the archive")
    if size > LARGEST_BYTES:
        return UnreadableSample(f"{size:,} bytes when unpacked; at most {LARGEST_BYTES:,} are read")
    try:
        content: bytes = read()
        return content
    except BROKEN as error:
        return UnreadableSample(str(error) or type(error).__name__)


def _extracted(opened: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = opened.extractfile(member)
    assert stream is not None
    content = stream.read()
    if len(content) < member.size:
        raise EOFError(f"cut short: {len(content)} of {member.size} bytes")
    return content


def _members(root: Folder, archive: str, labelled: bool) -> Members:
    """Every image of an archive with its place and the label that comes with it, in the order of names.

    Raises:
        DataError: the archive cannot be read.
    """
    try:
        with root.seekable(archive) as stream:
            is_zip = archive.lower().endswith(ZIPS)
            listing = _zip_members(stream, labelled) if is_zip else _tar_members(stream, archive, labelled)
            return sorted(listing)
    except (*BROKEN, ValueError) as error:
        raise DataError(f"data.source: {root.uri}/{archive} cannot be read: {error}") from error


def _zip_members(stream: Any, labelled: bool) -> Members:
    with zipfile.ZipFile(stream) as opened:
        names = [info.filename for info in opened.infolist() if _wanted(info.filename)]
        labels = _stylegan_labels(opened) if labelled and "dataset.json" in opened.namelist() else {}
    return [(name, 0, labels.get(name)) for name in names]


def _stylegan_labels(opened: zipfile.ZipFile) -> dict[str, Label]:
    told = json.loads(opened.read("dataset.json"))
    if not isinstance(told, dict):
        raise UsageError("its dataset.json is no mapping with `labels`")
    return {str(name): label for name, label in told.get("labels") or []}


def _tar_members(stream: Any, archive: str, labelled: bool) -> Members:
    """A member's place is its header's offset, or in a compressed tar its number."""
    plain = archive.lower().endswith(".tar")
    images: list[tuple[str, int]] = []
    labels: dict[str, Label] = {}
    with tarfile.open(fileobj=stream, mode="r:" if plain else "r|*") as opened:
        for number, member in enumerate(opened):
            stem, _, kind = member.name.rpartition(".")
            if member.isfile() and _wanted(member.name):
                images.append((member.name, member.offset if plain else number))
            elif labelled and member.isfile() and kind in ("cls", "json"):
                labels[stem] = _webdataset_label(_extracted(opened, member), kind)
    return [(name, place, labels.get(name.rpartition(".")[0])) for name, place in images]


def _webdataset_label(content: bytes, kind: str) -> Label:
    if kind == "json":
        found = json.loads(content)
        known = [found[key] for key in LABELS if isinstance(found, dict) and key in found]
        label = known[0] if known else None
    else:
        label = content.decode().strip()
    return int(label) if isinstance(label, str) and label.isdigit() else label


def _split(name: str) -> tuple[str, str]:
    """The archive and the member in it, of a name `ARCHIVE!MEMBER`; the archive's own name may hold a `!`."""
    found = _JOINED.match(name)
    assert found is not None, name
    return found[1], found[2]


def _wanted(name: str) -> bool:
    folders = name.split("/")[:-1]
    return is_image(name) and not any(part.startswith("__MACOSX") for part in folders)


def _without_common_folders(names: list[str]) -> list[str]:
    """Names without the folders that all of them are in: archives often hold one folder with everything."""
    parts = [name.split("/") for name in names]
    while len(parts[0]) > 2 and all(len(part) > 2 and part[0] == parts[0][0] for part in parts):
        parts = [part[1:] for part in parts]
    return ["/".join(part) for part in parts]
