"""Reading columns of tables as spreadsheets, scripts and people write them."""

import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashion_jax.data.sources.columns import read_columns
from fashion_jax.errors import UserError

ROWS = "id,name,main\n1,x,Apparel\n2,y,R\u00f6cke\n"


def read(folder, content: bytes | str, name="t.csv", wanted=("id", "main")):
    """Returns the rows of a table as tuples of the wanted values, and the line of each."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    parts = list(read_columns(path, dict.fromkeys(wanted, "data.levels"), []))
    rows = [row for part in parts for row in zip(*(part.columns[name] for name in wanted), strict=True)]
    return rows, [number for part in parts for number in part.numbers.tolist()]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (ROWS, [2, 3]),
        (ROWS.encode("utf-8-sig"), [2, 3]),
        (ROWS.replace(",", "\t").encode("utf-16"), [2, 3]),
        (ROWS.encode("utf-16-be").join([b"\xfe\xff", b""]), [2, 3]),
        (ROWS.replace("\n", "\r\n"), [2, 3]),
        (ROWS.replace("\n", "\r"), [2, 3]),
        (ROWS.replace(",", "|"), [2, 3]),
        ("sep=;\r\n" + ROWS.replace(",", ";"), [3, 4]),
        ('"sep=;"\n' + ROWS.replace(",", ";").replace("x", '","'), [3, 4]),
        (("sep=,\n" + ROWS).encode("utf-8-sig"), [3, 4]),
        ("\n , ,\n" + ROWS.replace("\n2", "\n\n,,\n \n2") + ",,\n", [4, 8]),
        (ROWS.replace("\n2", "\nid,name,main\n2"), [2, 4]),
        (ROWS.replace("\n", ",,\n"), [2, 3]),
        (ROWS.replace("x", '5" heel'), [2, 3]),
        (ROWS.replace("x,", ' "x, y", '), [2, 3]),
        (ROWS.replace("x", '"5"" heel,\r\n\nhigh"'), [2, 5]),
        (ROWS.replace("x", "x" * 200_000), [2, 3]),
        (ROWS.replace("x", '"dress,\ncotton, silk, wool\nwash, cold"'), [2, 5]),
        (ROWS.replace("id,name", "Unnamed: 0,id,name").replace("1,", "0,1,").replace("2,", "1,2,"), [2, 3]),
    ],
    ids=[
        "plain",
        "BOM",
        "Excel's Unicode text",
        "UTF-16, big-endian",
        "CRLF",
        "CR",
        "bars",
        "Excel's sep=",
        "Excel's sep= in quotes",
        "Excel's sep= after a BOM",
        "blank rows",
        "a header again",
        "empty columns",
        "a quote in mid-cell",
        "blanks around quotes",
        "a cell of several lines",
        "a long cell",
        "a text of several lines",
        "the index of pandas",
    ],
)
def test_rows_and_their_lines(tmp_path, content, lines):
    assert read(tmp_path, content) == ([("1", "Apparel"), ("2", "R\u00f6cke")], lines)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('id,main\n1,a\n\n2,"a\nb\n', r"quotes are wrong in the row that begins in line 4 \(unexpected end of data\)"),
        ('id,main\n1,"a\nb"\n2,"5" heel"\n3,a\n', r"begins in line 4 .* write quotes inside such a cell twice"),
        ('id,a,main\n1,"5 in,b\n2,x,y\n3,x 7",c\n', r"a cell in line 2 that holds 2 rows, .* write the quote twice"),
        (ROWS.replace("\n", "\r").encode("latin-1"), r"line 3 is not in UTF-8 .*in Excel “CSV UTF-8"),
        ("ID,Main\n1,a\n", r"no column 'id', which data\.levels needs; it has: ID, Main; did you mean 'ID'\?$"),
        ("Products of 2026\n\nid,main\n1,a\n", "separate its columns by commas, and let .* be the first row"),
        (",".join(f"c{i}" for i in range(100)) + "\n", r"c39 and 60 more:"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is a workbook of an old Excel, not a CSV: .* save it as CSV in UTF-8"),
        (b"\x1f\x8b\x08\0", "is a gzip archive, not a CSV"),
        ('[{"id": "1", "main": "a"}]', "is JSON, not a CSV"),
        ("<!DOCTYPE html><title>Log in</title>", "is a web page or XML, not a CSV"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_the_way_out(tmp_path, content, sentence):
    with pytest.raises(UserError, match=sentence):
        read(tmp_path, content)


def test_columns_of_a_parquet_file_that_hold_tables_are_named(tmp_path):
    pq.write_table(pa.table({"id": ["1"], "meta": [{"id": 5}]}), tmp_path / "t.parquet")
    assert [part.columns["id"] for part in read_columns(tmp_path / "t.parquet", {"id": "data.image"}, [])] == [["1"]]
    with pytest.raises(UserError, match=r"lists or tables in the cells of its column 'meta' .* a column of texts"):
        list(read_columns(tmp_path / "t.parquet", {"meta": "data.image"}, []))


def test_a_workbook_is_to_be_saved_as_csv(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w") as file:
        file.writestr("xl/workbook.xml", "")
    with pytest.raises(UserError, match=r"t\.xlsx' is a workbook of Excel.* save it as CSV in UTF-8 .* name that file"):
        list(read_columns(tmp_path / "t.xlsx", {"id": "data.image"}, []))
