"""What --input may name: each image is a row, in order, and however it is named it is found."""

import io
import itertools
import os
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashion_jax.data.sources.inputs import Inputs
from fashion_jax.errors import UserError
from tests.shop import smallest_image


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos/b.jpg", "photos/a.jpg", "photos/deep/c.PNG", "photos/notes.txt", "other/d.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(smallest_image(name))
    return tmp_path


def names(*paths, **options) -> list[str]:
    return [item.name for item in Inputs([*map(str, paths)], "", **options)]


def test_files_folders_and_patterns_in_their_order(photos):
    found = ["photos/a.jpg", "photos/b.jpg", "photos/deep/c.PNG", "photos/notes.txt"]
    assert names("other/d.jpg", "photos") == ["other/d.jpg", *found]
    assert names("photos/*.jpg", "other/*") == [*found[:2], "other/d.jpg"]
    assert names("**/*.jpg") == ["other/d.jpg", *found[:2]]
    assert names("photos/x*.jpg") == ["photos/x*.jpg"], "what fits nothing is a row that says so"
    (photos / "photos/[a].jpg").write_bytes(smallest_image("x"))
    assert names("photos/[a].jpg") == ["photos/[a].jpg"]
    inputs = Inputs(["photos/*"], "")
    assert list(inputs) == list(inputs) and inputs.count() == 5 and inputs.any_exists
    assert not Inputs(["none", "no*"], "").any_exists


def test_a_pattern_of_any_depth_finds_each_image_once(photos):
    found = names("photos")
    os.symlink(".", photos / "photos" / "self")
    for pattern in ("photos/**", "photos/**/*"):
        assert sorted(names(pattern)) == found
    assert names("photos/**/*.jpg") == found[:2], "although the link leads around in a circle"
    assert sorted(names("photos/**/*.jpg", "photos/deep/**")) == found[:3]


def test_a_folder_of_predictions_among_images_is_no_input(photos):
    """It stays so from the lock on, so that a job finds the same inputs each time."""
    expected = names("photos")
    out = photos / "photos" / "out"
    out.mkdir()
    for made in ("_lock-1-of-2", "_lock-2-of-2", "_job.json", "part-000000.parquet"):
        (out / made).touch()
        assert names("photos") == expected
    assert len(names("photos/out")) == 4, "unless it is named itself"
    (photos / "photos" / "_lock.jpg").touch()
    (photos / "photos" / "locked").mkdir()
    (photos / "photos" / "locked" / "_lock.jpg").touch()
    assert {"photos/_lock.jpg", "photos/locked/_lock.jpg"} <= set(names("photos"))


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_a_table_names_images_relative_to_its_folder(photos, suffix):
    rows = [("1", "a.jpg", "Red"), ("2", "deep\\c.PNG", "Blue"), ("3", "", "Green"), ("4", "none.jpg", "Red")]
    table = photos / "photos" / f"products.{suffix}"
    if suffix == "parquet":
        columns = dict(zip(("id", "image", "color"), map(list, zip(*rows, strict=True)), strict=True))
        pq.write_table(pa.table(columns | {"size": [[1], [2], [3], [4]]}), table)
    else:
        table.write_text(
            "\n".join(("," if suffix == "csv" else "\t").join(row) for row in [("id", "image", "color"), *rows])
        )
    for options in ({}, {"column": "image"}):
        found = list(Inputs([f"photos/products.{suffix}", "photos/a.jpg"], "", **options))
        assert [os.path.exists(item.file) for item in found] == [True, True, False, False, True]
        assert [item.name for item in found[:2]] == ["photos/a.jpg", "photos/deep\\c.PNG"]
        assert f"photos/products.{suffix}, {'row 3' if suffix == 'parquet' else 'line 4'}" == found[2].name
        assert "'image'" in found[2].error and not found[3].error


def test_paths_of_a_table_may_be_absolute_and_its_cells_ragged(photos):
    lines = ["image,text", f"{photos}/other/d.jpg,x", "photos/a.jpg,x,y", "photos/x.jpg,x,y"]
    (photos / "t.csv").write_text("\n".join(lines))
    found = list(Inputs(["t.csv"], ""))
    assert [item.name for item in found] == [f"{photos}/other/d.jpg", "photos/a.jpg", "photos/x.jpg"]
    assert [bool(item.error) for item in found] == [False, False, True] and "line 4 of t.csv" in found[2].error


@pytest.mark.parametrize(
    ("header", "column", "words"),
    [
        ("name,text", "", ["no column of paths", "--column", "name, text"]),
        ("image,thumbnail", "", ["image, thumbnail", "--column"]),
        ("image,text", "photo", ["'photo'", "--column", "image, text"]),
        ("photos/b.jpg,text", "", ["first line"]),
    ],
)
def test_a_table_without_one_column_of_paths_is_told(photos, header, column, words):
    cells = {"image": "photos/a.jpg", "thumbnail": "photos/b.jpg", "name": "Shirt", "text": "a.b"}
    cells["photos/b.jpg"] = "photos/a.jpg"
    (photos / "t.csv").write_text(f"{header}\n{','.join(cells[name] for name in header.split(','))}\n")
    with pytest.raises(UserError) as raised:
        names("t.csv", column=column)
    assert all(word in str(raised.value) for word in ["t.csv", *words])


def test_what_is_a_table_is_told_from_a_photo(photos):
    (photos / "photo.csv").write_bytes(smallest_image("x"))
    (photos / "photos" / "products.csv").write_text("image\na.jpg\n")
    assert names("photo.csv") == ["photo.csv"]
    assert names("photos")[-1] == "photos/products.csv", "in a folder it is a file as any other"
    with pytest.raises(UserError, match="--column is 'image'"):
        names("photo.csv", column="image")
    (photos / "book.csv").write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match=r"book\.csv.*workbook"):
        names("book.csv")


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (b"a.jpg\nb c.jpg\n\n\xff.jpg", ["a.jpg", "b c.jpg", "\udcff.jpg"]),
        (b"\xef\xbb\xbfa.jpg\r\nb.jpg\r\n", ["a.jpg", "b.jpg"]),
        (b"a\n.jpg\0b.jpg\0", ["a\n.jpg", "b.jpg"]),
        (b"only.jpg", ["only.jpg"]),
        (b"", []),
    ],
)
def test_paths_on_standard_input(listed, expected):
    file = io.BytesIO(listed)
    inputs = Inputs(["-", "x.jpg"], "", listed=file)
    assert [item.name for item in inputs] == [*expected, "x.jpg"] and not inputs.is_read_once
    assert inputs.count() == len(expected) + 1


def test_a_pipe_is_read_once_as_it_is_written():
    source, sink = os.pipe()
    with open(source, "rb") as listed, open(sink, "wb", buffering=0) as written:
        inputs = Inputs(["-"], "", listed=listed)
        assert inputs.is_read_once and inputs.any_exists
        written.write(b"a.jpg\nb.j")
        found = iter(inputs)
        assert next(found).name == "a.jpg"
        written.write(b"pg\n")
        assert next(found).name == "b.jpg"
        written.close()
        assert list(found) == []
    with pytest.raises(UserError, match="twice"):
        Inputs(["-", "-"], "")


def test_long_lists_are_split_right(tmp_path):
    expected = [f"{'x' * (i % 97)}{i}.jpg" for i in range(5000)]
    for separator in "\n\0":
        listed = io.BytesIO(separator.join(expected).encode())
        assert [item.name for item in Inputs(["-"], "", listed=listed)] == expected


def test_a_zip_is_opened_once(photos, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(photos / "cache"))
    with zipfile.ZipFile(photos / "a.zip", "w") as file:
        for name in ("b/1.jpg", "a.jpg"):
            file.writestr(name, smallest_image(name))
    inputs = Inputs(["a.zip"], "")
    first = list(inputs)
    assert [item.name for item in first] == ["a.zip/a.jpg", "a.zip/b/1.jpg"]
    (photos / "a.zip").write_bytes(b"no zip any more")
    assert list(itertools.islice(inputs, 2)) == first
