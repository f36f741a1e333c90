"""Reading the table of the csv source: CSV and Parquet, one image per row and several."""

import csv
import dataclasses
import datetime
import decimal
import gc
import os
import time
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashion_jax.data import dataset as reading
from fashion_jax.data.dataset import load_dataset
from fashion_jax.data.decoding.file_check import Checked
from fashion_jax.data.fields import data_fields
from fashion_jax.data.sources.columns import RaggedRow
from fashion_jax.data.sources.table import _without_misplaced, read_table
from fashion_jax.data.strings import Files, Strings
from fashion_jax.errors import UserError
from tests.shop import HEADER, products, shop_config, smallest_image, write_shop, write_table

ROW = ("1", "Apparel", "Topwear")


def read(folder, text: bytes | None = None, **data):
    if text is not None:
        (folder / "styles.csv").write_bytes(text)
    return read_table(data_fields(shop_config(folder, **data)), folder)[0]


def test_rows_become_ids_files_and_paths(tmp_path):
    write_table(tmp_path / "styles.csv", [ROW, ("2", "Footwear", "")])
    table = read(tmp_path)
    assert list(table.ids) == ["1", "2"]
    assert list(table.files) == [str(tmp_path / "images" / "1.jpg"), str(tmp_path / "images" / "2.jpg")]
    assert list(table.paths) == [("Apparel", "Topwear"), ("Footwear", "")]
    assert list(table.select([1]).ids) == ["2"] and list(table.select([1]).paths) == [("Footwear", "")]


def test_levels_take_the_columns_and_the_order_of_the_config(tmp_path):
    write_table(tmp_path / "styles.csv", [("a b.png", "x", "y", "z")], header=("file", "one", "two", "three"))
    table = read(tmp_path, levels={"c": "three", "a": "one"}, image="{two}/{file}", group_column="two")
    assert list(table.paths) == [("z", "x")]
    assert list(table.files) == [str(tmp_path / "y" / "a b.png")]
    assert list(table.ids) == ["y/a b.png"]  # without an id column
    assert list(table.columns) == ["two"] and list(table.columns["two"]) == ["y"]


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfid,masterCategory,subCategory\r\n1,Apparel,Topwear\r\n",
        b" id , masterCategory,subCategory \n 1 ,Apparel , Topwear\n",
        b'id,masterCategory,subCategory\n\n1,"Apparel","Topwear"\n\n',
        b"masterCategory,id,other,subCategory\nApparel,1,,Topwear",
        b"id,masterCategory,subCategory\n1,Apparel,Topwear,,\n",
        b"id,masterCategory,subCategory,,\n1,Apparel,Topwear\n",
        b'\xef\xbb\xbfid;masterCategory;"subCategory"\r\n1;Apparel;Topwear\r\n',
        b"id\tmasterCategory\tsub\tsubCategory\n1\tApparel\ta,b\tTopwear\n",
        b"note,id,note,masterCategory,subCategory\nx,1,y,Apparel,Topwear\n",
    ],
    ids=[
        "BOM and CRLF",
        "blanks",
        "quotes and empty lines",
        "other columns",
        "delimiters at the end",
        "delimiters at the header's end",
        "semicolons",
        "tabs",
        "another column twice",
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path, text):
    table = read(tmp_path, text)
    assert (list(table.ids), list(table.paths)) == (["1"], [("Apparel", "Topwear")])


GOOD = b"id,name,main,sub,note\n" + b"".join(
    b"%d,x,%s,x\n" % (i, path) for i, path in enumerate([b"Apparel,Topwear", b"Footwear,Shoes", b"Shoes,Topwear"] * 40)
)


def read_named(folder, rows: bytes, text=GOOD, **data):
    """Returns the table, and what was left out, of whole rows 0 to 119 on lines 2 to 121 and further ones."""
    (folder / "styles.csv").write_bytes(text + rows)
    config = shop_config(folder, levels={"main": "main", "sub": "sub"}, max_bad_fraction=0.1, **data)
    return read_table(data_fields(config), folder)


@pytest.mark.parametrize(
    ("row", "path"),
    [
        (b"1000,x,Apparel,Topwear,blue, with stripes", ("Apparel", "Topwear")),
        (b"1000,x,Apparel,Topwear,a,b,c,d", ("Apparel", "Topwear")),
        (b"1000,x,Apparel,Topwear,a,,", ("Apparel", "Topwear")),
        (b"1000,x,Apparel,Topwear", ("Apparel", "Topwear")),
        (b"1000,x,Apparel", ("Apparel", "")),
    ],
    ids=["a comma in the last", "several commas", "delimiters at the end", "no note", "no sub"],
)
def test_a_ragged_row_counts_where_its_labels_must_stand_in_their_columns(tmp_path, row, path):
    table, left_out = read_named(tmp_path, row)
    assert (table.ids[-1], table.paths[-1], len(table), left_out) == ("1000", path, 121, {})


@pytest.mark.parametrize(
    "row",
    [
        b"1000,Shirt, slim fit,Apparel,Topwear,x",
        b"1000,Shirt, slim,Apparel,,",
        b"1000,a,Footwear,Shoes,Topwear,x",
        b"1000,a,b,c,Apparel,Topwear,x",
        b"1000,Apparel,Topwear,x",
        b"1000,App",
        b"1000",
        b"1000,x,Apparel,Hats,a,b",
    ],
    ids=[
        "a comma before",
        "a comma before a blank",
        "labels of two classes",
        "two commas",
        "a cell missing before",
        "a row cut off",
        "an id alone",
        "a class that no whole row has",
    ],
)
def test_a_ragged_row_whose_labels_may_stand_elsewhere_is_left_out_with_its_line(tmp_path, row):
    table, left_out = read_named(tmp_path, row)
    more = row.count(b",") > 4
    assert left_out == {f"the row has {'more' if more else 'fewer'} cells than the header": ["1000 (line 122)"]}
    assert len(table) == 120 and set(table.paths) == {
        ("Apparel", "Topwear"),
        ("Footwear", "Shoes"),
        ("Shoes", "Topwear"),
    }


def test_a_surplus_in_front_of_any_wanted_cell_leaves_the_row_out(tmp_path):
    for data in ({"image": "{note}.jpg"}, {"group_column": "note"}, {"splits": "note"}):
        table, left_out = read_named(tmp_path, b"1000,x,Apparel,Topwear,blue, with stripes\n", **data)
        assert len(table) == 120 and sum(map(len, left_out.values())) == 1
    two_columns = GOOD.replace(b",x\n", b"\n").replace(b",note", b"")
    assert read_named(tmp_path, b"1000,x,Apparel,Topwear, long\n", two_columns)[1]  # "Topwear, long" is a label too


def test_a_torn_row_with_an_empty_last_cell_gets_no_other_rows_image(tmp_path):
    """The id comes after the labels, and would be 12."""
    table = b"main,sub,name,id,note\n" + b"".join(b"A,x,s,%d,n\nB,z,s,%d,n\n" % (i, i + 50) for i in range(20, 60))
    rows = b"A,x,size 11,12,1,\n"
    read, left_out = read_named(tmp_path, rows, table, image="{id}.jpg")
    assert len(read) == 80 and sum(map(len, left_out.values())) == 1
    every = table.replace(b",n\n", b",,\n")  # every line ends in a delimiter that the header lacks
    assert len(read_named(tmp_path, b"", every, image="{id}.jpg")[0]) == 80
    wanted = table.replace(b",note", b"").replace(b",n\n", b"\n")
    read, left_out = read_named(tmp_path, b"A,x,s,12,\n", wanted, image="{id}.jpg")
    assert left_out == {} and read.ids[-1] == "12", "the last column is the id, which a torn row would leave empty"


def test_ragged_rows_are_looked_up_all_at_once(tmp_path):
    class Lines(np.ndarray):
        def __contains__(self, line):
            raise AssertionError("all lines are looked at for one row")

    table, _ = read_named(tmp_path, b"")
    table = dataclasses.replace(table, rows=table.rows.view(Lines))
    places = {"main": 2, "sub": 3}
    ragged = [RaggedRow(line, ["1", "x", "Topwear"], 5, places) for line in (2, 3, 999)]  # line 999 names no image
    left, left_out = _without_misplaced(table, ragged, list(places), 0.1, tmp_path)
    assert len(left) == 118
    assert left_out == {"the row has fewer cells than the header": ["0 (line 2)", "1 (line 3)"]}


def test_a_table_for_levels_without_columns_is_told(tmp_path):
    (tmp_path / "styles.csv").write_text("id,kind\n1,A\n")
    config = shop_config(tmp_path, levels={"class": ""})
    with pytest.raises(UserError, match=r"needs a column for each level.*'class': 'id'"):
        read_table(data_fields(config), tmp_path)


def test_lines_are_counted_as_an_editor_counts_them(tmp_path):
    rows = b'200,"two\r\nlines",Apparel,Topwear,x\r\n\r\n201,a,b,Apparel,Topwear,x\r\n202,"one\rmore",a,b,c,d\r\n'
    _, left_out = read_named(tmp_path, rows)
    assert left_out == {"the row has more cells than the header": ["201 (line 125)", "202 (line 126)"]}


@pytest.mark.parametrize(
    "text",
    [
        b"id,main,sub\n1,7,Apparel,Topwear\n2,8,Footwear,Shoes\n",  # a column of row numbers without a name
        b"id,name,main,sub\n1,Apparel,Topwear\n2,Footwear,Shoes\n",
    ],
)
def test_too_many_ragged_rows_are_refused_with_the_first_line(tmp_path, text):
    with pytest.raises(UserError, match=r"2 of 2 rows .*styles\.csv.* line 2 .*data\.max_bad_fraction, 0\.1"):
        read_named(tmp_path, b"", text)


def test_rows_left_out_are_counted_in_the_data_set(tmp_path):
    rows = [row[:3] for row in products(200)]
    write_shop(tmp_path, [*rows, ("500", "Shirt", " slim", "Apparel", "Topwear")])
    dataset = load_dataset(shop_config(tmp_path))
    assert dataset.left_out == {"the row has more cells than the header": ["500 (line 202)"]}
    assert dataset.taxonomy.classes["main"] == ("Apparel", "Footwear")


COMPOSED, DECOMPOSED = "R\u00f6cke", "Ro\u0308cke"


def test_accents_are_the_same_composed_and_decomposed(tmp_path):
    """Accents occur in ids, labels, names of columns and files, of tables and image folders, and in files of splits."""
    one, other = unicodedata.normalize("NFC", "\u00fc\u00e9"), unicodedata.normalize("NFD", "\u00fc\u00e9")
    rows = [(f"{(one, other)[i % 2]}{i}", "Apparel", (COMPOSED, DECOMPOSED)[i // 2 % 2]) for i in range(40)]
    (tmp_path / other).mkdir()
    for i in range(40):
        (tmp_path / other / f"{(other, one)[i % 3 % 2]}{i}.jpg").write_bytes(smallest_image(str(i)))
    write_table(tmp_path / f"{other}.csv", rows, ("id", "main", DECOMPOSED))
    (tmp_path / f"{other}.txt").write_text("\n".join(f"{one}{i}" for i in range(20)), encoding="utf-8")
    (tmp_path / "v.txt").write_text("\n".join(f"{other}{i}" for i in range(20, 40)), encoding="utf-8")
    splits = {"train": f"{one}.txt", "validation": "v.txt"}
    fields = {"csv": f"{one}.csv", "levels": {"main": "main", "sub": COMPOSED}, "splits": splits}
    for pattern in (f"{one}/{{id}}.jpg", f"{one}/{{id}}.*"):
        dataset = load_dataset(shop_config(tmp_path, image=pattern, **fields))
        assert dataset.taxonomy.classes["sub"] == (f"Apparel/{COMPOSED}",) and not dataset.left_out
        assert [len(split) for split in dataset.splits.values()] == [20, 20]
        assert all(os.path.isfile(file) for split in dataset.splits.values() for file in split.files)
        assert dataset.splits["train"].ids[1] == f"{one}1"


def test_accents_in_columns_of_groups_and_splits(tmp_path):
    rows = [(str(i), "a", (COMPOSED, DECOMPOSED)[i % 2] + str(i // 2), "train") for i in range(20)]
    rows += [(str(i), "a", "b", "validation") for i in range(20, 30)]
    write_shop(tmp_path, rows, ("id", "sub", DECOMPOSED, "fo\u0308ld"))
    fields = {"levels": {"sub": "sub"}, "group_column": COMPOSED, "splits": "f\u00f6ld"}
    assert len(load_dataset(shop_config(tmp_path, **fields)).splits["train"]) == 20
    del fields["splits"]
    for split in load_dataset(shop_config(tmp_path, **fields)).splits.values():
        assert {str(int(i) ^ 1) for i in split.ids if int(i) < 20} <= set(split.ids)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "is empty: let its first line name the columns"),
        (
            b"id,masterCategory\n1,Apparel\n",
            r"'subCategory', which data\.levels needs; it has: id, masterCategory:",
        ),
        (b"id;main;subCategory\n1;a;b\n", "has no column 'masterCategory', .* it has: id, main, subCategory"),
        (b"id masterCategory subCategory\n1 a b\n", "separate its columns by commas"),
        (b"id,masterCategory,subCategory,id\n1,a,b,2\n", "has 2 columns 'id': rename all but one"),
        (b"id,masterCategory,subCategory\n", "has no rows"),
        (b'id,masterCategory,subCategory\n1,"a,b\n2,c,d\n3,c,d\n', "unexpected end of data"),
        (b"id,masterCategory,subCategory\r1,a,b\r1,\xe9,b\n", "line 3 is not in UTF-8 .* save it as CSV in UTF-8"),
        (
            b"id,masterCategory,subCategory\n1," + b"x" * 200_000 + b",b\n",
            "200,000 characters .* 'masterCategory', line 2",
        ),
    ],
    ids=[
        "empty",
        "column",
        "column of several, by semicolons",
        "blanks",
        "a column twice",
        "no rows",
        "an open quote",
        "Latin-1",
        "a cell without end",
    ],
)
def test_tables_that_cannot_be_used_are_refused(tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence) as refused:
        read(tmp_path, text)
    assert str(tmp_path / "styles.csv") in str(refused.value)


def test_a_missing_folder_or_table_is_named(tmp_path):
    with pytest.raises(UserError, match=r"There is no table .*styles\.csv"):
        read(tmp_path)
    (tmp_path / "Produkte.CSV").write_text("id,main,sub")
    with pytest.raises(UserError, match=r"There is no table .*mine\.csv': set data\.csv to 'Produkte\.CSV'\."):
        read(tmp_path, csv="mine.csv")
    with pytest.raises(UserError, match="not a folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(UserError, match="not a folder"):
        read(tmp_path / ("x" * 5000))


@pytest.mark.parametrize("data", [{"image": "{sku}.jpg"}, {"group_column": "sku"}, {"splits": "sku"}])
def test_every_column_that_the_config_names_must_be_there(tmp_path, data):
    write_table(tmp_path / "styles.csv", [ROW])
    with pytest.raises(UserError, match=f"no column 'sku', which data.* it has: {', '.join(HEADER)}"):
        read(tmp_path, **data)


def parquet(folder, **columns):
    pq.write_table(pa.table(columns), folder / "t.parquet")
    return read(folder, csv="t.parquet")


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pa.array([1163, None]), ["1163", ""]),
        (pa.array([1163.0, float("nan")]), ["1163", ""]),
        (pa.array([1e20, 0.5]), ["100000000000000000000", "0.5"]),
        (pa.array([decimal.Decimal("1163.00"), decimal.Decimal("1.50")]), ["1163", "1.5"]),
        (pa.array([" a ", None]).dictionary_encode(), ["a", ""]),
        (pa.array([b"\xc3\xa4", b""]), ["ä", ""]),
        (pa.array([datetime.date(2024, 1, 2), None]), ["2024-01-02", ""]),
        (pa.array([float("inf"), 2.0]), ["inf", "2"]),
    ],
    ids=["integers", "floats", "large", "decimals", "a dictionary", "bytes", "dates", "infinity"],
)
def test_values_of_parquet_are_texts_as_a_person_writes_them(tmp_path, values, texts):
    table = parquet(tmp_path, id=["x", "y"], masterCategory=["a", "b"], subCategory=values)
    assert [path[1] for path in table.paths] == texts


def test_ids_of_parquet_name_the_images(tmp_path):
    table = parquet(tmp_path, **{"id": [1163.0, 7.0], " masterCategory ": ["a", "b"], "subCategory": ["c", "d"]})
    assert list(table.ids) == ["1163", "7"]
    assert table.files[0] == str(tmp_path / "images" / "1163.jpg")


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"masterCategory": ["a"]}, "no column 'subCategory', .* it has: masterCategory"),
        (
            {"masterCategory": ["a"], "subCategory": [["b"]], "id": [1]},
            "lists or tables in .* its column 'subCategory'",
        ),
        ({"masterCategory": ["a"], "subCategory": [b"\xff"], "id": [1]}, "save it as Parquet"),
        ({"masterCategory": pa.array([], pa.string()), "subCategory": [], "id": []}, "has no rows"),
    ],
)
def test_a_parquet_table_that_cannot_be_used_is_refused(tmp_path, columns, sentence):
    with pytest.raises(UserError, match=sentence):
        parquet(tmp_path, **columns)


def test_what_is_no_parquet_is_refused(tmp_path):
    for content in (b"", b"id,masterCategory,subCategory\n1,a,b\n", b"PAR1" + b"x" * 100 + b"PAR1"):
        (tmp_path / "t.parquet").write_bytes(content)
        with pytest.raises(UserError, match=r"The table .*t\.parquet' cannot be read .*: save it as Parquet\."):
            read(tmp_path, csv="t.parquet")


def test_parts_of_values_name_images(tmp_path):
    """H&M keeps 0108775015.jpg in the folder 010."""
    write_table(tmp_path / "styles.csv", [("0108775015", "Apparel", "Topwear")])
    table = read(tmp_path, image="images/{id[:3]}/{id[-2:]}{id[0]}{id[-1]}{id[3:5]}{{}}.jpg")
    assert list(table.files.names) == ["images/010/150587{}.jpg"] and list(table.ids) == ["0108775015"]
    (tmp_path / "images" / "010").mkdir(parents=True)
    write_pictures(tmp_path, "010/0108775015_a.jpg")
    assert list(read(tmp_path, image="images/{id[:3]}/{id}_*").files.names) == ["images/010/0108775015_a.jpg"]


@pytest.mark.parametrize("name", ["meta.id", "the id", "id[cm]", "a:b", "x!r", "f(x)", "a/b", "id[0][:]"])
def test_columns_of_any_name_can_be_named(tmp_path, name):
    column = name.removesuffix("[:]")
    write_table(tmp_path / "styles.csv", [("7", "a", "train"), ("8", "a", "val")], (column, "kind.of", "my split"))
    table = read(tmp_path, image=f"{{{name}}}.jpg", levels={"k": "kind.of"}, group_column=column, splits="my split")
    assert list(table.files.names) == ["7.jpg", "8.jpg"] and list(table.columns[column]) == ["7", "8"]


@pytest.mark.parametrize("part", ["[::2]", "[a]", ":03", "!r", ".upper"])
def test_nothing_of_a_pattern_is_executed(tmp_path, part):
    write_table(tmp_path / "styles.csv", [ROW])
    with pytest.raises(UserError, match=r"no column 'id.*a part of a value is written as \{COLUMN\[:3\]\}"):
        read(tmp_path, image=f"{{id{part}}}.jpg")


def test_paths_of_windows_are_found(tmp_path):
    rows = [("images\\a\\1.jpg", "a", "b"), ("images\\2.jpg", "a", "b"), ("images/x\\y.jpg", "a", "b")]
    write_table(tmp_path / "styles.csv", rows, ("file", *HEADER[1:]))
    write_pictures(tmp_path, "2.jpg", "x\\y.jpg")
    expected = ["images/a/1.jpg", "images/2.jpg", "images/x\\y.jpg"]
    assert list(read(tmp_path, image="{file}").files.names) == expected
    assert list(read(tmp_path, image=["{file}", ".\\{file}"]).files.names)[1] == "./images/a/1.jpg"


def test_a_row_without_an_image_is_named_by_its_line(tmp_path):
    rows = [*((*row, "") for row in products(99)), ("", "Apparel", "Topwear", ""), ("",) * 4, ("", "", "", "FALSE")]
    write_table(tmp_path / "styles.csv", rows, (*HEADER, "done"))
    table, left_out = read_table(data_fields(shop_config(tmp_path)), tmp_path)
    assert len(table) == 99
    assert left_out == {
        "the cell of 'id' is empty": ["line 101"],
        "no cell that the config names is filled": ["line 103"],
    }
    with pytest.raises(UserError, match=r"1 of 101 rows .* such as line 101, where the cell of 'id' is empty"):
        read(tmp_path, max_bad_fraction=0.001)
    table = read(tmp_path, image=["{id}.jpg", "{done}.jpg"], max_bad_fraction=1.0)
    assert (table.files[0], len(table), table.ids[99]) == (str(tmp_path / "0.jpg"), 100, "")


def test_rows_of_parquet_are_named_by_their_number(tmp_path):
    columns = {"id": [*map(str, range(60)), None], "masterCategory": ["a"] * 61, "subCategory": ["b"] * 61}
    pq.write_table(pa.table(columns), tmp_path / "t.csv")  # whatever its name
    with pytest.raises(UserError, match=r"such as row 61, where the cell of 'id' is empty"):
        read(tmp_path, csv="t.csv")
    assert read(tmp_path, csv="t.csv", max_bad_fraction=0.1).place(59) == "row 60"


FRONT_AND_BACK = ["images/{id}_front.jpg", "images/{id}_back.jpg"]


def write_pictures(folder, *names: str) -> None:
    (folder / "images").mkdir(exist_ok=True)
    for name in names:
        (folder / "images" / name).write_bytes(smallest_image(name))


def test_rows_have_several_images_by_a_list_of_patterns(tmp_path):
    write_table(tmp_path / "styles.csv", [ROW, ("2", "Footwear", "Shoes")])
    table = read(tmp_path, image=FRONT_AND_BACK)
    assert list(table.files.names) == [f"images/{name}.jpg" for name in ("1_front", "1_back", "2_front", "2_back")]
    assert list(table.ids) == ["1", "1", "2", "2"] and table.rows.tolist() == [2, 2, 3, 3]
    assert [path[0] for path in table.paths] == ["Apparel", "Apparel", "Footwear", "Footwear"]


def test_a_star_stands_for_anything(tmp_path):
    write_table(tmp_path / "styles.csv", [ROW, ("11", "Footwear", "Shoes"), ("1_x", "Footwear", "Shoes")])
    write_pictures(tmp_path, "1_a.jpg", "1_b.JPG", "11_a.jpg", "1_notes.txt", "._1_a.jpg", "12_a.jpg", "1_.png")
    table = read(tmp_path, image="images/{id}_*")
    names = ["images/1_.png", "images/1_a.jpg", "images/1_b.JPG", "images/11_a.jpg", "images/1_x_*"]
    assert list(table.files.names) == names and table.rows.tolist() == [2, 2, 2, 3, 4]
    assert read(tmp_path, image="images/*_{id}_*.jpg").files.names[0] == "images/*_1_*.jpg"
    both = read(tmp_path, image=["images/{id}_a.jpg", "images/{id}_*.jpg"])
    assert list(both.files.names)[:2] == ["images/1_a.jpg", "images/11_a.jpg"]  # each once


def test_images_of_a_row_have_its_group_and_its_split(tmp_path):
    rows = [(*ROW, "p1", "train"), ("2", "Footwear", "Shoes", "p2", "validation")]
    write_table(tmp_path / "styles.csv", rows, (*HEADER, "product", "fold"))
    table = read(tmp_path, image=FRONT_AND_BACK, group_column="product", splits="fold")
    assert list(table.columns["product"]) == ["p1", "p1", "p2", "p2"]
    assert list(table.columns["fold"]) == ["train"] * 2 + ["validation"] * 2
    write_pictures(tmp_path, "2_a.jpg", "2_b.jpg")
    table = read(tmp_path, image="images/{id}_*", group_column="product")
    assert list(table.columns["product"]) == ["p1", "p2", "p2"]


def test_an_image_that_fits_two_rows_is_refused(tmp_path):
    write_table(tmp_path / "styles.csv", [ROW, ("11", "Footwear", "Shoes")])
    write_pictures(tmp_path, "1.jpg", "11.jpg")
    write_table(tmp_path / "styles.csv", [ROW, ROW, ("11", "Footwear", "Shoes")])
    assert len(read(tmp_path, image="images/{id}.*")) == 3  # two rows of a product
    with pytest.raises(UserError, match=r"'images/11\.jpg' fits data\.image for lines 2 and 4"):
        read(tmp_path, image="images/{id}*.jpg")


def test_rows_without_some_images_keep_the_others_and_never_straddle(tmp_path):
    write_table(tmp_path / "styles.csv", products(60))
    write_pictures(
        tmp_path, *(f"{i}_{side}.jpg" for i in range(60) for side in ("front", "back") if (i, side) != (7, "back"))
    )
    dataset = load_dataset(shop_config(tmp_path, image=FRONT_AND_BACK))
    ids = {name: list(split.ids) for name, split in dataset.splits.items()}
    assert not set(ids["train"]) & set(ids["validation"])
    assert sum(map(len, ids.values())) == 119 and set(ids["train"]) | set(ids["validation"]) == set(map(str, range(60)))
    assert dataset.left_out == {"there is no such file": ["images/7_back.jpg (line 9)"]}
    (tmp_path / "images" / "7_front.jpg").unlink()
    with pytest.raises(UserError, match=r"1 of 60 images cannot be used, such as .*7_front\.jpg"):
        load_dataset(shop_config(tmp_path, image=FRONT_AND_BACK))


def test_texts_are_kept_in_little_memory():
    texts = ["", "a", "ä" * 50, "\udcff.jpg", "a"]
    strings = Strings(texts)
    assert list(strings) == texts and [strings[i] for i in range(-5, 5)] == texts * 2
    assert list(strings[1:3]) == texts[1:3] and list(strings.select([4, 0])) == ["a", ""]
    assert strings.codes().tolist() == [0, 1, 2, 3, 1]
    assert strings.places(Strings(["a", "b", "a"])).tolist() == [-1, 0, -1, -1, 0]
    assert list(Strings.join([strings, Strings()])) == texts and len(Strings.join([])) == 0
    files = Files("/data", strings)
    assert files[1] == "/data/a" and list(files[3:]) == ["/data/\udcff.jpg", "/data/a"] == list(files.select([3, 4]))
    with pytest.raises(IndexError):
        strings[5]


def test_a_hundred_thousand_rows_take_little_time_and_few_bytes(tmp_path, monkeypatch):
    """The bounds are 60 bytes per image, and twice the usual time, in terms of what the csv module takes."""
    count = 100_000
    good = Checked({}, np.arange(1, count + 1, dtype=np.uint64))
    monkeypatch.setattr(reading, "check_files", lambda files, cache, is_divided: good)
    write_table(
        tmp_path / "styles.csv", [(*row, "Men", "Blue", "Casual") for row in products(count)], (*HEADER, *"abc")
    )
    gc.freeze()  # the collector need not look through what other tests have left
    try:
        began = time.thread_time()  # an earlier test may have left TensorFlow to be imported by another thread
        dataset = load_dataset(shop_config(tmp_path))
        loading, began = time.thread_time() - began, time.thread_time()
        for _ in range(3):
            with (tmp_path / "styles.csv").open(newline="") as file:
                assert sum(1 for _ in csv.reader(file)) == count + 1
        assert loading < 8 * (time.thread_time() - began), "usually four times"
    finally:
        gc.unfreeze()
    splits = dataset.splits.values()
    held = [
        (split.ids.nbytes, split.files.names.nbytes, *(x.nbytes for x in split.labels.values())) for split in splits
    ]
    assert sum(map(sum, held)) < 60 * count
    assert sum(map(len, splits)) == count
    train = dataset.splits["train"]
    assert train.files[-1] == str(tmp_path / "images" / f"{train.ids[-1]}.jpg")
    assert np.bincount(train.labels["sub"]).sum() == len(train)
