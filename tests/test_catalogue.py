"""The generated catalogue: a pure function of (seed, i), written once and never half."""

import contextlib
import csv
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from unittest.mock import Mock

import numpy as np
import psutil
import pytest
from PIL import Image

from fashion_jax.data.catalogue import generator as catalogue
from fashion_jax.data.catalogue.canvas import Canvas
from fashion_jax.data.catalogue.drawings import DRAWINGS
from fashion_jax.errors import UserError
from tests.conftest import ROOT


def test_an_image_depends_on_seed_and_number_alone():
    image, main, sub = catalogue.draw(3, 5)
    catalogue.draw(0, 0)
    again, *labels = catalogue.draw(3, 5)
    assert image.dtype == np.uint8 and image.shape == (80, 80, 3)
    np.testing.assert_array_equal(image, again)
    assert labels == [main, sub]
    for seed, i in [(3, 6), (4, 5), (5, 3)]:
        assert np.abs(catalogue.draw(seed, i)[0].astype(int) - image).mean() > 5


def test_every_class_occurs_and_the_frequencies_are_long_tailed(monkeypatch):
    monkeypatch.setattr(catalogue, "DRAWINGS", defaultdict(lambda: lambda canvas: None))  # labels alone
    monkeypatch.setattr(catalogue, "Canvas", Mock())
    counts = Counter(catalogue.draw(0, i)[1:] for i in range(1000))
    assert set(counts) == {(main, sub) for main, subs in catalogue.CLASSES.items() for sub in subs}
    assert counts["Apparel", "Topwear"] > 180
    assert sum(count < 25 for count in counts.values()) > 5


def test_label_noise_changes_as_many_labels_as_it_says_evenly_and_no_image(monkeypatch):
    assert np.array_equal(catalogue.draw(0, 0, 1.0)[0], catalogue.draw(0, 0)[0])
    monkeypatch.setattr(catalogue, "DRAWINGS", defaultdict(lambda: lambda canvas: None))  # labels alone
    monkeypatch.setattr(catalogue, "Canvas", Mock())
    labels = [(catalogue.draw(0, i)[1:], catalogue.draw(0, i, 0.3)[1:]) for i in range(2000)]
    wrong = [noisy for clean, noisy in labels if clean != noisy]
    assert 0.27 < len(wrong) / len(labels) < 0.33
    assert len(set(wrong)) == 25 and max(Counter(wrong).values()) < 3 * len(wrong) / 25
    assert all(sub in catalogue.CLASSES[main] for main, sub in wrong)
    assert all(
        clean != noisy for clean, noisy in ((catalogue.draw(0, i)[2], catalogue.draw(0, i, 1.0)[2]) for i in range(50))
    )


def test_noisy_labels_have_their_own_folder(tmp_path):
    folders = {catalogue.catalogue_folder(str(tmp_path), 3, 0, noise) for noise in (0.0, 0.5, 1.0)}
    assert len(folders) == 3
    tables = {(folder / "styles.csv").read_text() for folder in folders}
    images = {(folder / "images" / "1.jpg").read_bytes() for folder in folders}
    assert len(tables) == 3 and len(images) == 1


def test_every_drawing_shows_its_thing_in_every_variant():
    for sub, drawing in DRAWINGS.items():
        seen = set()
        for seed in range(12):
            canvas = Canvas(np.random.default_rng(seed))
            drawing(canvas)
            seen.add(canvas.photograph().tobytes())
            covered = np.asarray(canvas._mask).mean() / 255
            assert 0.01 < covered < 0.8, (sub, seed)
        assert len(seen) == 12


def test_the_tree_has_a_drawing_for_every_sub():
    subs = [sub for names in catalogue.CLASSES.values() for sub in names]
    assert len(catalogue.CLASSES) == 4 and len(subs) >= 20
    assert sorted(subs) == sorted(DRAWINGS)


def test_the_folder_is_a_table_and_an_image_per_row(tmp_path):
    folder = catalogue.catalogue_folder(str(tmp_path), 12, 7)
    with (folder / "styles.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "masterCategory", "subCategory"]
    assert [row["id"] for row in rows] == [str(i) for i in range(12)]
    assert sorted(file.name for file in (folder / "images").iterdir()) == sorted(f"{i}.jpg" for i in range(12))
    for i in (0, 11):
        image, main, sub = catalogue.draw(7, i)
        with Image.open(folder / "images" / f"{i}.jpg") as written:
            assert np.abs(np.asarray(written, int) - image).mean() < 8
        assert (rows[i]["masterCategory"], rows[i]["subCategory"]) == (main, sub)


def test_the_pool_writes_what_one_process_writes(tmp_path, monkeypatch):
    catalogue.write_catalogue(tmp_path / "alone", 8, 0)
    monkeypatch.setattr(catalogue, "_CHUNK", 3)
    catalogue.write_catalogue(tmp_path / "pool", 8, 0)
    for file in ["styles.csv", *(f"images/{i}.jpg" for i in range(8))]:
        assert (tmp_path / "alone" / file).read_bytes() == (tmp_path / "pool" / file).read_bytes()


def test_a_complete_folder_is_reused_and_others_have_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = catalogue.catalogue_folder("", 3, 0)
    assert folder.parent == tmp_path / "fashion_jax"
    others = [catalogue.catalogue_folder("", 3, 1), catalogue.catalogue_folder("", 2, 0)]
    monkeypatch.setattr(catalogue, "draw", None)
    assert catalogue.catalogue_folder("", 3, 0) == folder
    monkeypatch.undo()
    monkeypatch.setattr(catalogue, "VERSION", catalogue.VERSION + 1)
    others.append(catalogue.catalogue_folder(str(folder.parent), 3, 0))
    assert len({folder, *others}) == 4
    assert len(list(folder.parent.iterdir())) == 4


def test_a_half_written_folder_is_not_reused(tmp_path, monkeypatch):
    draw = catalogue.draw

    def stop_at_two(seed, i, label_noise):
        if i == 2:
            raise KeyboardInterrupt
        return draw(seed, i, label_noise)

    monkeypatch.setattr(catalogue, "draw", stop_at_two)
    with pytest.raises(KeyboardInterrupt):
        catalogue.catalogue_folder(str(tmp_path), 4, 0)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    folder = catalogue.catalogue_folder(str(tmp_path), 4, 0)
    (folder / "images" / "1.jpg").unlink()
    assert catalogue.catalogue_folder(str(tmp_path), 4, 0) == folder
    assert len(list((folder / "images").iterdir())) == 4
    assert list(tmp_path.iterdir()) == [folder]


def test_two_processes_at_once_end_with_one_folder(tmp_path, monkeypatch):
    write = catalogue.write_catalogue

    def overtaken(directory, *arguments):
        monkeypatch.setattr(catalogue, "write_catalogue", write)
        catalogue.catalogue_folder(str(tmp_path), *arguments)
        write(directory, *arguments)

    monkeypatch.setattr(catalogue, "write_catalogue", overtaken)
    folder = catalogue.catalogue_folder(str(tmp_path), 3, 0)
    assert list(tmp_path.iterdir()) == [folder]
    assert len(list((folder / "images").iterdir())) == 3


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(UserError, match=r"file/catalogue.*data\.cache_dir"):
        catalogue.catalogue_folder(str(blocker), 2, 0)


def test_workers_do_not_run_the_users_script_again(tmp_path):
    """A script that trains needs no `if __name__ == "__main__"`."""
    script = tmp_path / "first.py"
    script.write_text(
        "from pathlib import Path\n"
        "from fashion_jax.data.catalogue.generator import write_catalogue\n"
        "print('begun', flush=True)\n"
        f"write_catalogue(Path({str(tmp_path / 'made')!r}), 501, 0)\n"
    )
    command = [sys.executable, str(script)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.stdout == "begun\n" and len(os.listdir(tmp_path / "made" / "images")) == 501


def test_workers_end_with_a_parent_that_is_killed():
    """A parent that Ctrl-C ends at once leaves no workers that wait for work for ever."""
    program = (
        "import multiprocessing, os\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from fashion_jax.data.catalogue.generator import _end_with_parent\n"
        "pool = ProcessPoolExecutor(1, multiprocessing.get_context('spawn'), _end_with_parent)\n"
        "print(pool.submit(os.getpid).result(), flush=True)\n"
        "os._exit(0)\n"
    )
    worker = int(subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, cwd=ROOT).stdout)
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(worker).wait(timeout=30)
    assert not psutil.pid_exists(worker)


def test_what_killed_processes_have_left_is_removed(tmp_path):
    old, young = (f".catalogue-v{catalogue.VERSION}-3-0.{digit * 16}.tmp" for digit in "01")
    for name, age in ((old, 2 * 86_400), (young, 60)):
        folder = tmp_path / name
        folder.mkdir()
        os.utime(folder, (time.time() - age,) * 2)
    catalogue.catalogue_folder(str(tmp_path), 3, 0)
    assert sorted(os.listdir(tmp_path)) == [young, f"catalogue-v{catalogue.VERSION}-3-0"]
