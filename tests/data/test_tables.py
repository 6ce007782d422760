"""Tables: how they are written is found and told, and what is broken is refused or counted, with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_dist.data.tables import Table, column_named
from gan_dist.errors import DataError, UnreadableSample
from gan_dist.runs.storage import Folder
from tests.data.corpus import put

KNOWN = ("text", "label")
SAID = [f"the cat number {number} sat" for number in range(12)]


def table(root: Path, content: str, name: str = "x.csv") -> Table:
    put(root, name, content.encode())
    return Table(Folder.at(root), name, None, KNOWN)


def texts(found: Table) -> list[Any]:
    column = column_named(found.dialect.columns, KNOWN) or found.dialect.columns[-1]
    return [row.cells if isinstance(row.cells, UnreadableSample) else row.cells[column] for row in found.rows()]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("said", [False, True])
@pytest.mark.parametrize(("delimiter", "shown"), [(",", "comma"), (";", "semicolon"), ("\t", "tab"), ("|", "bar")])
def test_a_dialect_is_found_and_told(
    tmp_path: Path, delimiter: str, shown: str, said: bool, mark: str, end: str
) -> None:
    decimal = "1.5" if delimiter == "," else "1,5"
    rows = [f"{number}{delimiter}{text}{delimiter}{decimal}" for number, text in enumerate(SAID)]
    head = [f"sep={delimiter}"] if said else []
    found = table(tmp_path, mark + "".join(row + end for row in (*head, f"id{delimiter}text{delimiter}x", *rows)))
    assert found.dialect.describe() == f"columns: id, text, x (delimiter: {shown})"
    assert texts(found) == SAID


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("text\nfirst, and more\nsecond\n", ["first, and more", "second"]),
        ("a sentence, with a comma\nand one without\nand, well, two\n", None),
        (
            'id,text\n1,"a ""quoted"" word, and\na second line"\n2,plain\n',
            ['a "quoted" word, and\na second line', "plain"],
        ),
        ('id,text\n1,5" is a size\n2,"b"\n', ['5" is a size', "b"]),
        ('id\ttext\n1\t"one\n2\t"two\n3\tthree\n4\t"four\n', ['"one', '"two', "three", '"four']),
        (" ID , Text \n1, a\n2, b\n", ["a", "b"]),
    ],
)
def test_cells_are_what_was_written(tmp_path: Path, content: str, wanted: list[str] | None) -> None:
    name = "x.tsv" if "\t" in content else "x.csv"
    assert texts(table(tmp_path, content, name)) == (wanted or content.splitlines())


def test_the_first_line_is_data_where_it_says_so(tmp_path: Path) -> None:
    found = table(tmp_path, "1,a cat\n2,a dog\n3,a cow\n")
    assert texts(found) == ["a cat", "a dog", "a cow"]
    assert found.dialect.describe() == (
        "columns: 1, 2 (delimiter: comma; the first line is data, and names no columns)"
    )


@pytest.mark.parametrize("name", ["text", "TEXT", " Text ", "te xt", "label"])
def test_columns_are_named_without_regard_to_case_and_blanks(name: str) -> None:
    known = ("te_xt", *KNOWN)
    assert column_named(["id", name], known) == name
    assert column_named(["id"], known) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty: it holds no rows"),
        ("\n \n\n", "is empty: it holds no rows"),
        ('id,text\n1,"never closed\n2,b\n3,c\n', "a quote is opened at '1,\"never closed' and never closed"),
        ("text,text\na,b\n", "several columns are named 'text'; rename all but one"),
        ("text,id,TEXT\na,1,b\n", "several columns are named 'text'"),
        (
            "the first one is a sentence of some words,and this one is another\nthis is more,of the same\n",
            "looks like data and not like names of columns: .* put a line with names above it",
        ),
    ],
)
def test_what_is_no_table_is_refused_with_what_was_found(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"^data\.source: .*{message}"):
        texts(table(tmp_path, content))


def test_ragged_rows_are_rejected_and_empty_ones_counted(tmp_path: Path) -> None:
    found = table(tmp_path, "id,text\n1,a\n2\n,\n3,b,c\n4,d\n,\n")
    read = texts(found)
    assert [one for one in read if isinstance(one, str)] == ["a", "d"] and found.empty == 2
    assert [str(one) for one in read if not isinstance(one, str)] == [
        "1 cells where the table has 2 columns: '2'",
        "3 cells where the table has 2 columns: '3,b,c'",
    ]


@pytest.mark.parametrize("header", ["id;text", '"id";"text"', "id; Text"])
def test_a_header_that_names_the_column_says_what_divides(tmp_path: Path, header: str) -> None:
    """Where the only row has one comma and one semicolon."""
    assert texts(table(tmp_path, f'{header}\n0;", """""\n')) == [', ""']


def test_a_header_without_rows_holds_none(tmp_path: Path) -> None:
    assert texts(table(tmp_path, "id,text\n")) == []


def test_rows_are_found_at_their_places(tmp_path: Path) -> None:
    found = table(tmp_path, 'id,text\n1,"a\nb"\n2,c\n\n3,"d ""e"""\n')
    rows = list(found.rows())
    assert [row.cells for row in found.at([row.place for row in rows])] == [row.cells for row in rows]


CELLS = st.text(st.characters(codec="utf-8", exclude_characters='\0\r\x1f"'), min_size=1, max_size=12).filter(
    lambda cell: cell == cell.strip() and len(cell.strip()) > 0
)


@settings(max_examples=40)
@given(st.lists(CELLS, min_size=1, max_size=8), st.sampled_from(",;\t|"), st.booleans())
@pytest.mark.slow
def test_any_quoted_cells_come_back(
    tmp_path_factory: pytest.TempPathFactory, said: list[str], delimiter: str, quoted: bool
) -> None:
    said = [f'{cell[:3]} "{cell[3:]}"' if quoted else cell for cell in said]
    rows = ['{}{}"{}"'.format(number, delimiter, cell.replace('"', '""')) for number, cell in enumerate(said)]
    content = "\n".join([f"id{delimiter}text", *rows]) + "\n"
    name = "x.tsv" if delimiter == "\t" else "x.csv"
    assert texts(table(tmp_path_factory.mktemp("table"), content, name)) == said
