"""Text is unpacked, decoded as a stream by its mark or as said, and then cut into lines, by a stated rule."""

from __future__ import annotations

import bz2
import codecs
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_dist.data import text_stream
from gan_dist.data.text_stream import LINES, RECORDS, Lines, text_format
from gan_dist.errors import DataError, UnreadableSample
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import TextData
from tests.data.corpus import ingest, put

SENTENCES = ["the cat sat", "größe naïve", "ещё булок", "a dog ran far"]
WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
MARKED = ("utf-8-sig", "utf-16", "utf-32")
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda content: pa.Codec("zstd").compress(content, asbytes=True),
}
KINDS: dict[str, Callable[[list[str]], str]] = {
    "txt": "\n".join,
    "csv": lambda said: "id,text\n" + "".join(f'{at},"{one}"\n' for at, one in enumerate(said)),
    "tsv": lambda said: "id\ttext\n" + "".join(f"{at}\t{one}\n" for at, one in enumerate(said)),
    "jsonl": lambda said: "".join(json.dumps({"text": one}, ensure_ascii=False) + "\n" for one in said),
    "json": lambda said: json.dumps(said, ensure_ascii=False),
}
OTHERS = {
    "shift_jis": "今日はいい天気ですね。散歩に行きましょう。\nこれは日本語の文章です。テストです。\n" * 5,
    "gb18030": "我们都是中国人。今天天气很好。我们去公园散步吧。\n" * 6,
    "cp1251": "Съешь ещё этих мягких французских булок\nЧащи юга: жил-был цитрус\n" * 6,  # noqa: RUF001
    "euc_kr": "안녕하세요 반갑습니다. 오늘 날씨가 좋네요\n" * 6,
}


def spec(source: Path, **keys: Any) -> TextData:
    return TextData.model_validate(
        {"source": str(source), "modality": "text", "length": 40, "max_rejected": 0.9, "tokens": "characters", **keys}
    )


def sentences(source: Path, **keys: Any) -> list[str]:
    read = ingest(spec(source, **keys))
    return [read.facts.codec.text(row) for block in read.blocks for row in block.tolist()]


@pytest.mark.parametrize("encoding", [*MARKED, "utf-8"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_mark_is_obeyed(tmp_path: Path, kind: str, encoding: str) -> None:
    path = put(tmp_path, f"x.{kind}", KINDS[kind](SENTENCES).encode(encoding))
    assert sentences(path) == SENTENCES


@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize("kind", KINDS)
def test_wide_text_without_a_mark_is_refused_by_its_name_and_read_when_said(
    tmp_path: Path, kind: str, encoding: str
) -> None:
    path = put(tmp_path, f"x.{kind}", KINDS[kind](SENTENCES).encode(encoding))
    with pytest.raises(DataError, match=rf"^data\.encoding: .*x\.{kind} holds zeros .*it may be {encoding}: set it"):
        sentences(path)
    assert sentences(path, encoding=encoding) == SENTENCES


@pytest.mark.parametrize("order", ["le", "be"])
@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("marked", [False, True])
def test_an_encoding_said_without_its_order(tmp_path: Path, bits: int, order: str, marked: bool) -> None:
    text = ("\ufeff" if marked else "") + "\n".join(SENTENCES)
    path = put(tmp_path, "x.txt", text.encode(f"utf-{bits}-{order}"))
    assert sentences(path, encoding=f"utf-{bits}") == SENTENCES


@pytest.mark.parametrize("encoding", OTHERS)
def test_other_encodings_are_read_when_said_and_guessed_in_words(tmp_path: Path, encoding: str) -> None:
    text = OTHERS[encoding]
    path = put(tmp_path, "x.txt", text.encode(encoding))
    assert sentences(path, encoding=encoding) == text.splitlines()
    with pytest.raises(DataError, match=rf"no UTF-8 at byte \d+ \(0x..\); it may be {encoding}: set data\.encoding"):
        sentences(path)


@pytest.mark.parametrize("encoding", OTHERS)
def test_a_table_in_another_encoding_is_found_and_told(tmp_path: Path, encoding: str) -> None:
    said = OTHERS[encoding].splitlines()
    path = put(tmp_path, "x.csv", KINDS["csv"](said).encode(encoding))
    read = ingest(spec(path))
    assert [read.facts.codec.text(row) for row in read.blocks[0].tolist()] == said
    assert f"encoding: {encoding} (x.csv)" in read.facts.remarks


@pytest.mark.parametrize(
    ("content", "asked", "message"),
    [
        ("größe naïve été déjà".encode() * 3, "cp1252", "cp1252, but the bytes of .* are UTF-8; leave it out"),
        ("größe".encode("utf-16"), "utf-8", "begins with the mark of utf-16-le; leave it out"),
        ("größe und klein".encode("utf-16-le"), "latin-1", "holds zeros; it may be utf-16-le"),
        (b"plain words, as they are", "utf-16", "are UTF-8; leave it out"),
        ("größe".encode("latin-1"), "ascii", r"is no ascii \(byte 2\)"),
    ],
)
def test_bytes_that_contradict_what_is_said_are_refused(
    tmp_path: Path, content: bytes, asked: str, message: str
) -> None:
    with pytest.raises(DataError, match=rf"^data\.encoding: .*{message}"):
        sentences(put(tmp_path, "x.txt", content), encoding=asked)


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("named", [True, False])
def test_packed_text_is_known_by_content(tmp_path: Path, kind: str, ending: str, named: bool) -> None:
    name = f"x.{kind}.{ending}" if named else f"x.{kind}"
    read = ingest(spec(put(tmp_path, name, PACK[ending](KINDS[kind](SENTENCES).encode()))))
    assert [read.facts.codec.text(row) for row in read.blocks[0].tolist()] == SENTENCES
    assert any(line.startswith("encoding: ") for line in read.facts.remarks)


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("lost", [1, 9, 0.5])
def test_packed_text_that_breaks_off_is_refused(tmp_path: Path, ending: str, lost: float) -> None:
    content = PACK[ending]("".join(f"a line of number {number * 7919}\n" for number in range(20_000)).encode())
    cut = content[: -lost if isinstance(lost, int) else len(content) // 2]
    with pytest.raises(DataError, match=rf"^data\.source: .*x\.txt\.{ending} is \w+, and damaged.* anew"):
        sentences(put(tmp_path, f"x.txt.{ending}", cut))


def test_members_of_a_gzip_are_one_text(tmp_path: Path) -> None:
    assert sentences(put(tmp_path, "x.txt.gz", gzip.compress(b"a b\n", mtime=0) + gzip.compress(b"c d\n"))) == [
        "a b",
        "c d",
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32", "gb18030"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028", "\u2029"])
def test_every_end_of_a_line_ends_it(tmp_path: Path, end: str, encoding: str) -> None:
    path = put(tmp_path, "x.txt", end.join(SENTENCES).encode(encoding))
    told = {"encoding": encoding} if encoding == "gb18030" else {}
    assert sentences(path, **told) == SENTENCES


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_line_separators_are_text_in_records(tmp_path: Path, kind: str) -> None:
    said = ["one\u2028two", "three\u2029four"]
    assert sentences(put(tmp_path, f"x.{kind}", KINDS[kind](said).encode())) == said


def test_one_broken_character_costs_its_line(tmp_path: Path) -> None:
    path = put(tmp_path, "x.txt", b"a b\nc \xff d\ne f\n")
    read = ingest(spec(path))
    ((name, why),) = read.facts.rejected
    assert (name, why.partition(";")[0]) == ("x.txt:2", "no UTF-8 at byte 6 (0xff)")
    lone = codecs.BOM_UTF16_LE + "a b\n".encode("utf-16-le") + b"\x00\xd8" + "x\nc d\n".encode("utf-16-le") + b"\x00"
    read = ingest(spec(put(tmp_path, "y.txt", lone)))
    assert read.facts.count == 2
    assert read.facts.rejected == (("y.txt:2", "no UTF-16-LE"), ("y.txt:4", "no UTF-16-LE"))


def test_long_lines_and_zeros_cost_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_stream, "LONGEST_LINE", 1 << 20)
    path = put(tmp_path, "x.txt", b"a b\n" + b"w " * 600_000 + b"\n\0\0\nc d\n")
    read = ingest(spec(path))
    assert read.facts.count == 2
    assert read.facts.rejected == (("x.txt:2", "a line of more than 1 MiB"), ("x.txt:3", "zeros, no text"))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04" + bytes(50), "a zip archive"),
        (b"%PDF-1.4", "a PDF document"),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (b"PAR1" + bytes(20), "a Parquet file"),
        (b"\x93NUMPY", "a NumPy array"),
        (gzip.compress(b"%PDF-1.4", mtime=0), "a PDF document"),
    ],
)
@pytest.mark.parametrize("kind", ["txt", "csv", "jsonl"])
def test_what_is_no_text_is_refused_by_what_it_is(tmp_path: Path, kind: str, content: bytes, what: str) -> None:
    with pytest.raises(DataError, match=rf"^data\.source: .*x\.{kind} is {what}, and no text"):
        sentences(put(tmp_path, f"x.{kind}", content))


@settings(max_examples=60)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n\r\u2028\u2029"), max_size=9)),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([LINES, RECORDS]),
    st.integers(1, 9),
)
def test_any_lines_come_back_and_are_found_at_their_places(
    tmp_path_factory: pytest.TempPathFactory, said: list[str], encoding: str, end: str, rule: str, chunk: int
) -> None:
    folder = tmp_path_factory.mktemp("text")
    put(folder, "x", "".join(line + end for line in said).encode(encoding))
    root = Folder.at(folder)
    how = text_format(root, "x", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_stream, "CHUNK", chunk)
        found = list(Lines(root, "x", how, rule))
        lines = Lines(root, "x", how, rule)
        again = []
        for line in reversed(found):
            lines.seek(line.place)
            again.append(next(lines).text)
        lines.close()
    texts = [line.text for line in found]
    if said and said[0].startswith("\ufeff"):
        return  # a mark of its own
    assert [text for text in texts if not isinstance(text, UnreadableSample)] == said
    assert again[::-1] == texts
