"""Images in zip and tar archives, read in place; nothing is unpacked. What is passed over in a folder is passed over
here too, and which kind an archive is of is told by how it begins, whatever it is called.

Zips may be StyleGAN's, with labels in `dataset.json`; tars may be WebDataset's, with labels in `KEY.cls` or `KEY.json`
beside `KEY.jpg`, where a key ends at the first dot.
"""

from __future__ import annotations

import io
import posixpath
import re
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

from gan_dist.data.json_text import parse_json
from gan_dist.data.labels import Label, folder_labels, label_of, labels_of
from gan_dist.data.picture_formats import ENDINGS, ending_of, is_picture_name
from gan_dist.data.source import Content, Listing, Part, RawSample, reason_of, state_of
from gan_dist.data.sources.layout import split_files, split_folders
from gan_dist.data.sources.walk import HIDDEN, describe_passed, is_hidden
from gan_dist.data.text_stream import PACKED, unpack
from gan_dist.errors import DataError, UnreadableSample, UsageError
from gan_dist.runs.storage import Folder
from gan_dist.runs.unpacking import LARGEST_BYTES, UNPACKED, check_zip, most_unpacked, size_of_stream, too_far
from gan_dist.spec.data import ImageData

ARCHIVE_ENDINGS = (
    ".zip",
    ".tar",
    *(f".tar.{packed}" for packed in ("gz", "bz2", "xz", "zst")),
    *(".tgz", ".tbz2", ".txz", ".tzst"),
)
_JOINED = re.compile(rf"(.*?(?:{'|'.join(re.escape(ending) for ending in ARCHIVE_ENDINGS)}))!(.*)", re.DOTALL | re.I)
BLOCK = 512
LARGEST_NOTE = 16 << 20  # bytes of a file of labels
HELD_BYTES = 64 << 20  # of members that are held in memory
CLASS_KEYS = ("label", "class", "cls")
SIDECARS = (".cls", ".json")


class Member(NamedTuple):
    """A picture in an archive: its name, its place (its number in a zip or packed tar, the offset of its header in a
    plain tar), and the label that comes with it."""

    name: str
    place: int
    label: Label = None


@dataclass
class _Found:
    """What an archive holds."""

    members: list[Member] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)
    notes: dict[str, bytes] = field(default_factory=dict)  # files of labels, where labels are asked for
    noted: int = 0  # their bytes
    remarks: list[str] = field(default_factory=list)
    packed: bool = False  # so that it can only be read from its beginning


def is_archive(name: str) -> bool:
    """Whether a file is taken for an archive, by its name."""
    return name.lower().endswith(ARCHIVE_ENDINGS)


def list_archives(data: ImageData, root: Folder, names: list[str]) -> Listing:
    """The images of one archive, or of several in the order of their names."""
    layout = split_files(sorted(names), data.split, "archives") if len(names) > 1 else None
    archives = sorted(names) if layout is None else layout.tails
    members: list[Member] = []
    passed: Counter[str] = Counter()
    remarks = [] if layout is None else list(layout.remarks)
    packed = False
    for archive in archives:
        found = _members(root, archive, data.reads_labels)
        packed |= found.packed
        members += [one._replace(name=f"{archive}!{one.name}") for one in found.members]
        passed.update(found.passed)
        remarks += found.remarks
    where = f"{root.uri}/{names[0]}" if len(names) == 1 else root.uri
    told = describe_passed(passed)
    if not members:
        raise DataError(f"data.source: {where!r} holds no images{f' ({told[0]})' if told else ''}")
    tails = [_split(member.name)[1] for member in members]
    if layout is None:
        folders = split_folders(tails, data.split)
        members, tails = [members[place] for place in folders.kept], folders.tails
        remarks += folders.remarks
    files = [root.entry(archive) for archive in archives]
    return Listing(
        kind="archive",
        where=where,
        state=state_of(files),
        root=root.uri,
        names=[member.name for member in members],
        labels=_labels(data, members, tails, where),
        places=[member.place for member in members],
        remarks=[*dict.fromkeys(remarks), *told],
        file_bytes=0 if packed else sum(file.size for file in files),
    )


def _labels(data: ImageData, members: Sequence[Member], tails: Sequence[str], where: str) -> list[Label]:
    if data.labels == "folders":
        return folder_labels(tails, where)
    if data.labels == "none":
        return []
    if all(member.label is None for member in members):
        raise DataError(f"data.labels: {data.labels!r}, but {where!r} carries none (dataset.json, .cls or .json)")
    return labels_of(member.label for member in members)


def read_archive(part: Part) -> Iterator[RawSample]:
    root = Folder(part.root)
    for archive, group in groupby(part.rows(), lambda row: _split(row[0])[0]):
        wanted = list(group)
        members = [Member(_split(name)[1], place) for name, place, _ in wanted]
        with root.seekable(archive) as stream:
            contents = _contents(stream, members)
            for (name, _, label), content in zip(wanted, contents, strict=True):
                yield RawSample(name, content, label)


def _contents(stream: Any, members: list[Member]) -> Iterator[Content]:
    """The members' bytes, in their order, or why there are none."""
    kind = _kind(stream)
    if kind == "zip":
        with zipfile.ZipFile(stream) as opened:
            infos = opened.infolist()
            for member in members:
                info = infos[member.place]
                yield _guarded(member.name, info.file_size, partial(_unzipped, opened, info))
    elif kind == "tar":
        for member in members:
            yield _tar_member(stream, member)
    else:
        yield from _streamed(unpack(stream, kind), members)


def _tar_member(stream: Any, member: Member) -> Content:
    try:
        stream.seek(member.place)
        with tarfile.open(fileobj=stream, mode="r:") as opened:
            info = opened.next()
            if info is None:
                raise EOFError("cut short")
            return _guarded(member.name, info.size, lambda: _extracted(opened, info))
    except MemoryError:
        raise
    except Exception as error:  # a damaged header is read as anything
        return UnreadableSample(f"damaged in its archive: {reason_of(error)}")


def _streamed(stream: Any, members: list[Member]) -> Iterator[Content]:
    """Members of a packed tar, which can only be read from its beginning; what is many is kept on the disk."""
    awaited = {member.place: member.name for member in members}
    found: dict[int, UnreadableSample | tuple[int, int]] = {}
    with tempfile.SpooledTemporaryFile(max_size=HELD_BYTES) as held:
        try:
            with tarfile.open(fileobj=stream, mode="r|", ignore_zeros=True) as opened:
                for number, info in enumerate(opened):
                    if number in awaited:
                        content = _guarded(awaited[number], info.size, partial(_extracted, opened, info))
                        found[number] = _held(content, held)
                    if len(found) == len(awaited):
                        break
        except MemoryError:
            raise
        except Exception as error:
            rest = UnreadableSample(f"damaged in its archive: {reason_of(error)}")
            found = {place: found.get(place, rest) for place in awaited}
        for member in members:
            kept = found[member.place]
            if isinstance(kept, tuple):
                held.seek(kept[0])
                yield held.read(kept[1])
            else:
                yield kept


def _held(content: bytes | UnreadableSample, held: Any) -> UnreadableSample | tuple[int, int]:
    """Where some bytes are kept: from which place on, and how many; or why there are none."""
    if isinstance(content, UnreadableSample):
        return content
    first = held.seek(0, io.SEEK_END)
    held.write(content)
    return first, len(content)


def _guarded(name: str, size: int, read: Callable[[], bytes]) -> bytes | UnreadableSample:
    if posixpath.isabs(name) or ".." in name.split("/"):
        return UnreadableSample("its name leads out of the archive")
    if size > LARGEST_BYTES:
        return UnreadableSample(f"{size:,} bytes when unpacked; at most {LARGEST_BYTES:,} are read")
    try:
        return read()
    except MemoryError:
        raise
    except Exception as error:  # of any library that unpacks
        return UnreadableSample(f"damaged in its archive: {reason_of(error)}")


def _unzipped(opened: zipfile.ZipFile, info: zipfile.ZipInfo, most: int = LARGEST_BYTES) -> bytes:
    with opened.open(info) as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise EOFError(f"more than {most:,} bytes when unpacked")
    return content


def _extracted(opened: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = opened.extractfile(member)
    if stream is None:
        raise EOFError("a link that leads nowhere")
    content = stream.read()
    if len(content) < member.size:
        raise EOFError(f"cut short: {len(content)} of {member.size} bytes")
    return content


def _kind(stream: Any) -> str:
    """zip, tar, or how a tar is packed, by how the file begins."""
    stream.seek(0)
    head = stream.read(8)
    stream.seek(0)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return "zip"
    return next((name for magic, name in PACKED.items() if head.startswith(magic)), "tar")


def _members(root: Folder, archive: str, labelled: bool) -> _Found:
    """Every image of an archive, in the order of names.

    Raises:
        DataError: the archive cannot be read.
    """
    found = _Found()
    if root.entry(archive).size == 0:
        return found
    try:
        with root.seekable(archive) as stream:
            kind = _kind(stream)
            if kind == "zip":
                _zip_members(stream, labelled, found)
            elif kind == "tar":
                _tar_members(stream, labelled, found)
            else:
                found.packed = True
                _packed_members(unpack(stream, kind), labelled, found)
    except (MemoryError, DataError):
        raise
    except Exception as error:  # of any library that unpacks
        told = f"{root.uri}/{archive} cannot be read: {reason_of(error)}; fetch it anew, or unpack what is left of it"
        raise DataError(f"data.source: {told}") from error
    _drop_doubles(found)
    if kind != "zip":
        _keep_one_a_key(found)
    labels = _noted_labels(found, f"{root.uri}/{archive}")
    found.members = sorted(one._replace(label=labels(one.name)) for one in found.members)
    return found


def _take(found: _Found, name: str, place: int, read: Callable[[], bytes] | None) -> None:
    """Note one file of an archive: a picture, a file of labels (`read` is given where they are asked for), or what is
    passed over."""
    plain = name.replace("\\", "/")
    plain = plain.removeprefix("./")
    ending = ending_of(plain)
    if is_hidden(plain):
        found.passed[HIDDEN] += 1
    elif is_picture_name(plain):
        found.members.append(Member(plain, place))
    elif ending in SIDECARS and read is not None:
        found.notes[plain] = read()
        found.noted += len(found.notes[plain])
        if found.noted > UNPACKED:
            raise EOFError(f"its files of labels are more than {UNPACKED:,} bytes; give them in one dataset.json")
    else:
        found.passed[ending] += 1


def _zip_members(stream: Any, labelled: bool, found: _Found) -> None:
    stored = size_of_stream(stream)
    with zipfile.ZipFile(stream) as opened:
        check_zip(opened, stored)
        for number, info in enumerate(opened.infolist()):
            if not info.is_dir() and not info.filename.endswith("\\"):
                read = partial(_unzipped, opened, info, LARGEST_NOTE) if labelled else None
                _take(found, info.filename, number, read)


def _tar_members(stream: Any, labelled: bool, found: _Found) -> None:
    """The members of a plain tar, and of others that stand behind it in the same file."""
    size, first, unfolded = size_of_stream(stream), 0, 0
    while first < size:
        stream.seek(first)
        with tarfile.open(fileobj=stream, mode="r:") as opened:
            places: dict[str, int] = {}
            for member in opened:
                # What is stored of a sparse file is its parts that are not zeros.
                unfolded += member.size if member.issparse() else 0
                if unfolded > most_unpacked(size):
                    raise EOFError(too_far(size))
                _take_tar(found, opened, member, labelled=labelled, place=member.offset, places=places)
            # At least a block further, whatever a damaged header says of its length.
            first = _next_header(stream, max(opened.offset, first + BLOCK), size, found)


def _next_header(stream: Any, first: int, size: int, found: _Found) -> int:
    """Where the next header of a member begins, behind the zeros that end a tar and behind what is damaged."""
    stream.seek(first)
    odd, where = 0, 0
    while block := stream.read(BLOCK):
        if block.strip(b"\0"):
            try:
                tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
                break
            except tarfile.HeaderError:
                odd, where = odd + len(block), where or first
        first += BLOCK
    if odd:
        found.remarks.append(f"passed over: {odd:,} bytes of a tar that are damaged, from byte {where:,} on")
    return min(first, size)


def _packed_members(stream: Any, labelled: bool, found: _Found) -> None:
    with tarfile.open(fileobj=stream, mode="r|", ignore_zeros=True) as opened:
        places: dict[str, int] = {}
        for number, member in enumerate(opened):
            _take_tar(found, opened, member, labelled=labelled, place=number, places=places)


def _take_tar(
    found: _Found,
    opened: tarfile.TarFile,
    member: tarfile.TarInfo,
    *,
    labelled: bool,
    place: int,
    places: dict[str, int],
) -> None:
    """One member; of a link the file that it leads to, which stands before it."""
    if member.isfile():
        places[member.name] = place
        _take(found, member.name, place, (lambda: _noted(opened, member)) if labelled else None)
    elif member.issym() or member.islnk():
        below = posixpath.dirname(member.name) if member.issym() else ""
        target = places.get(posixpath.normpath(posixpath.join(below, member.linkname)))
        if target is None:
            found.passed["links that lead nowhere"] += 1
        else:
            _take(found, member.name, target, None)
    elif not member.isdir():
        found.passed["special files"] += 1


def _noted(opened: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > LARGEST_NOTE:
        raise EOFError(f"{member.name} of {member.size:,} bytes is no file of labels")
    return _extracted(opened, member)


def _drop_doubles(found: _Found) -> None:
    """Of several members of one name the last, which is what unpacking leaves."""
    last = {member.name: member for member in found.members}
    if doubled := len(found.members) - len(last):
        names = Counter(member.name for member in found.members)
        first = min(name for name, count in names.items() if count > 1)
        found.remarks.append(f"passed over: {doubled} members whose name comes again later (first: {first!r})")
        found.members = list(last.values())


def _keep_one_a_key(found: _Found) -> None:
    """WebDataset's samples have one picture each: of several with the same key (`0.jpg`, `0.seg.png`) the one whose
    whole ending is a picture's. Other tars, where no file stands alone under its key, are left as they are."""
    by_key: dict[str, list[Member]] = {}
    for member in found.members:
        by_key.setdefault(_key(member.name), []).append(member)
    alone = {key: [one for one in members if _ending(one.name) in ENDINGS] for key, members in by_key.items()}
    if all(len(members) == 1 for members in by_key.values()) or not all(alone.values()):
        return
    kept = [min(members, key=lambda one: ENDINGS.index(_ending(one.name))) for members in alone.values()]
    passed = Counter(_ending(one.name) for one in set(found.members).difference(kept))
    used = ", ".join(sorted({_ending(one.name) for one in kept}))
    others = ", ".join(f"{count} {ending}" for ending, count in sorted(passed.items()))
    found.remarks.append(f"one image a key: {used}; passed over: {others}")
    found.members = kept


def _key(name: str) -> str:
    """WebDataset's: up to the first dot of the last part."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def _ending(name: str) -> str:
    """What follows a WebDataset key, in small letters."""
    return "." + name.rpartition("/")[2].partition(".")[2].lower()


def _noted_labels(found: _Found, where: str) -> Callable[[str], Label]:
    """The label of a picture's name, by the files of labels beside it.

    Raises:
        DataError: one cannot be read.
    """
    told: dict[str, Label] = {}
    keyed: dict[str, Label] = {}
    keys = {_key(member.name) for member in found.members}
    for name, content in sorted(found.notes.items()):
        try:
            folder, slash, last = name.rpartition("/")
            if last.lower() == "dataset.json":
                told |= {folder + slash + one: label for one, label in _stylegan_labels(content).items()}
            elif _key(name) in keys:
                keyed[_key(name)] = _webdataset_label(content, ending_of(name))
            else:
                found.passed[ending_of(name)] += 1
        except (ValueError, TypeError) as error:
            raise DataError(f"data.labels: {where}!{name} cannot be read: {error}") from error
    return lambda name: told[name] if name in told else keyed.get(_key(name))


def _stylegan_labels(content: bytes) -> dict[str, Label]:
    told = parse_json(content)
    if not isinstance(told, dict):
        raise UsageError("it is no mapping with `labels`")
    pairs = told.get("labels") or []
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise UsageError("its `labels` are no list of [name, label]")
    return {str(name).replace("\\", "/"): label_of(label) for name, label in pairs}


def _webdataset_label(content: bytes, kind: str) -> Label:
    if kind == ".cls":
        return label_of(content.decode())
    found = parse_json(content)
    if isinstance(found, dict):
        return next((label_of(found[key]) for key in CLASS_KEYS if key in found), None)
    return label_of(found)


def _split(name: str) -> tuple[str, str]:
    """The archive and the member in it, of a name `ARCHIVE!MEMBER`; the archive's own name may hold a `!`."""
    found = _JOINED.match(name)
    assert found is not None, name
    return found[1], found[2]
