"""Reading the table of the csv source."""

import pytest

from fashion_jax.data.table import read_table
from fashion_jax.errors import UserError
from tests.shop import HEADER, shop_config, write_table

ROW = ("1", "Apparel", "Topwear")


def read(folder, text: bytes | None = None, **data):
    if text is not None:
        (folder / "styles.csv").write_bytes(text)
    return read_table(shop_config(folder, **data), folder)


def test_rows_become_ids_files_and_paths(tmp_path):
    write_table(tmp_path / "styles.csv", [ROW, ("2", "Footwear", "")])
    table = read(tmp_path)
    assert table.ids == ["1", "2"]
    assert table.files == [str(tmp_path / "images" / "1.jpg"), str(tmp_path / "images" / "2.jpg")]
    assert table.paths == [("Apparel", "Topwear"), ("Footwear", "")]
    assert table.select([1]).ids == ["2"] and table.select([1]).paths == [("Footwear", "")]


def test_levels_take_the_columns_and_the_order_of_the_config(tmp_path):
    write_table(tmp_path / "styles.csv", [("a b.png", "x", "y", "z")], header=("file", "one", "two", "three"))
    table = read(tmp_path, levels={"c": "three", "a": "one"}, image="{two}/{file}", group_column="two")
    assert table.paths == [("z", "x")]
    assert table.files == [str(tmp_path / "y" / "a b.png")]
    assert table.ids == ["y/a b.png"]  # without an id column
    assert table.columns == {"two": ["y"]}


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfid,masterCategory,subCategory\r\n1,Apparel,Topwear\r\n",
        b" id , masterCategory,subCategory \n 1 ,Apparel , Topwear\n",
        b'id,masterCategory,subCategory\n\n1,"Apparel","Topwear"\n\n',
        b"masterCategory,id,other,subCategory\nApparel,1,,Topwear",
        b"id,masterCategory,subCategory\n1,Apparel,Topwear,too,many\n",
    ],
    ids=["BOM and CRLF", "blanks", "quotes and empty lines", "other columns", "more cells than columns"],
)
def test_tables_as_spreadsheets_write_them(tmp_path, text):
    table = read(tmp_path, text)
    assert (table.ids, table.paths) == (["1"], [("Apparel", "Topwear")])


def test_a_short_row_has_unknown_labels(tmp_path):
    assert read(tmp_path, b"id,masterCategory,subCategory\n1,Apparel\n").paths == [("Apparel", "")]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", r"no column 'masterCategory'; it has: none\."),
        (b"id,masterCategory\n1,Apparel\n", r"no column 'subCategory'; it has: id, masterCategory\."),
        (b"id;masterCategory;subCategory\n1;a;b\n", "separate its columns by commas"),
        (b"id,masterCategory,subCategory\n", "has no rows"),
        (b'id,masterCategory,subCategory\n1,"a,b\n2,c,d\n3,c,d\n', "unexpected end of data"),
        ("id,masterCategory,subCategory\n1,a,b\n".encode("utf-16"), "save it as CSV in UTF-8"),
        (b"id,masterCategory,subCategory\n1,\xe9,b\n", "save it as CSV in UTF-8"),
        (b"id,masterCategory,subCategory\n1," + b"x" * 200_000 + b",b\n", "save it as CSV in UTF-8"),
    ],
    ids=["empty", "column", "semicolons", "no rows", "an open quote", "UTF-16", "Latin-1", "a cell without end"],
)
def test_tables_that_cannot_be_used_are_refused(tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence) as refused:
        read(tmp_path, text)
    assert str(tmp_path / "styles.csv") in str(refused.value)


def test_a_missing_folder_or_table_is_named(tmp_path):
    with pytest.raises(UserError, match=r"There is no table .*styles\.csv"):
        read(tmp_path)
    with pytest.raises(UserError, match=r"There is no table .*mine\.csv"):
        read(tmp_path, csv="mine.csv")
    with pytest.raises(UserError, match="not a folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(UserError, match="not a folder"):
        read(tmp_path / ("x" * 5000))


@pytest.mark.parametrize("data", [{"image": "{sku}.jpg"}, {"group_column": "sku"}, {"splits": "sku"}])
def test_every_column_that_the_config_names_must_be_there(tmp_path, data):
    write_table(tmp_path / "styles.csv", [ROW])
    with pytest.raises(UserError, match=f"no column 'sku'; it has: {', '.join(HEADER)}"):
        read(tmp_path, **data)
