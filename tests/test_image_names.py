"""Images of rows by patterns: no row looks at all files of a folder, and no row asks the disk."""

import os

import numpy as np
import pytest

from fashion_jax.data import stored_names
from fashion_jax.data.sources import image_names
from fashion_jax.data.sources.image_names import ImageNames
from fashion_jax.errors import UserError


def made(folder, *names: str) -> str:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return str(folder)


def names_of(folder: str, pattern: str, **columns: list[str]) -> tuple[list[str], list[int]]:
    count = len(next(iter(columns.values())))
    names, rows = ImageNames([pattern], folder).of_rows(columns, range(count))
    return names, rows.tolist()


@pytest.mark.parametrize("pattern", ["*_{id}.jpg", "photo*_{id}.jpg", "*_*_{id}.jpg"])
def test_a_leading_star_looks_at_the_names_that_end_as_the_pattern(tmp_path, monkeypatch, pattern):
    count, looked = 300, []
    folder = made(tmp_path / "images", *(f"photo_{i * 7919 % 1000}_{i}.jpg" for i in range(count)))
    fits = image_names._fits
    monkeypatch.setattr(image_names, "_fits", lambda *pair: looked.append(1) or fits(*pair))
    names, rows = names_of(folder, pattern, id=list(map(str, range(count))))
    assert (names, rows) == ([f"photo_{i * 7919 % 1000}_{i}.jpg" for i in range(count)], list(range(count)))
    assert len(looked) < 3 * count


@pytest.mark.parametrize("pattern", ["*{id}.jpg", "a*{id}*.jpg", "*{id}*", "a{id}*g", "*a{id}.jp*"])
def test_what_a_star_finds_does_not_depend_on_how_it_looks(tmp_path, monkeypatch, pattern):
    rng = np.random.default_rng(0)
    letters = np.array(list("ab1é"))
    every = {"".join(rng.choice(letters, rng.integers(1, 5))) + end for _ in range(300) for end in (".jpg", ".png")}
    folder, ids = made(tmp_path / "images", *every), ["1", "ab", "é1"]
    found = []
    for few in (len(every), 0):
        monkeypatch.setattr(image_names, "_FEW", few)
        found.append([names_of(folder, pattern, id=[value]) for value in ids])
    assert found[0] == found[1] and len(found[0][0][0]) > 2


def test_an_image_that_ends_as_two_rows_is_refused(tmp_path):
    folder = made(tmp_path / "images", *(f"x{i}.jpg" for i in range(100, 140)), "y11.jpg")
    with pytest.raises(UserError, match=r"The image 'x111\.jpg' fits data\.image for lines 0 and 1"):
        names_of(folder, "*{id}.jpg", id=["11", "1"])


def test_names_with_backslashes_list_each_folder_once(tmp_path, monkeypatch):
    made(tmp_path / "images", "1.jpg", "x\\y.jpg")
    made(tmp_path / "other", "1.jpg")
    listed, asked = [], []
    listdir, lexists = os.listdir, os.path.lexists
    monkeypatch.setattr(stored_names.os, "listdir", lambda folder: listed.append(folder) or listdir(folder))
    monkeypatch.setattr(image_names.os.path, "lexists", lambda path: asked.append(path) or lexists(path))
    files = [f"{folder}\\{i}.jpg" for i in range(50) for folder in ("images", "other")]
    files += [f"images/a\\{i}.jpg" for i in range(50)] + ["images/x\\y.jpg"]
    names, _ = names_of(str(tmp_path), "{file}", file=files)
    assert names == [file.replace("\\", "/") for file in files[:-1]] + ["images/x\\y.jpg"]
    assert len(listed) == 2 and asked == [str(tmp_path / "images" / "x\\y.jpg")]


def test_names_with_backslashes_are_found_by_their_whole_path(tmp_path):
    made(tmp_path / "a\\b", "1.jpg")
    files = [str(tmp_path / "a\\b" / name) for name in ("1.jpg", "2.jpg")]
    names, _ = names_of("", "{file}", file=files)
    assert names == [files[0], files[1].replace("\\", "/")]
