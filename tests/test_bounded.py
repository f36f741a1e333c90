"""Ends a run with thousands of classes: in little memory and time, with a page that a person can read."""

import json
import re
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.sparse import csr_array

from fashion_jax.report.figures import charts
from fashion_jax.report.figures.confusion import MAX_CLASSES, excerpt, legible_classes
from fashion_jax.workdir.calibration_file import write_calibration
from fashion_jax.workdir.predictions import read_predictions, write_predictions
from tests.pages import read_page
from tests.wide import end_run, make_run

EPOCHS = 1000
CLASSES = 1500


@pytest.fixture(scope="module")
def ended(tmp_path_factory) -> Path:
    """The workdir of a run with 40 and 1,500 classes, whose names have 300 characters, and 1,000 epochs."""
    workdir = tmp_path_factory.mktemp("wide") / "run"
    end_run(*make_run(workdir, 400, (40, CLASSES), name_length=300, epochs=EPOCHS))
    return workdir


def test_the_page_is_small_whatever_the_number_of_classes_and_epochs(ended):
    page = read_page(ended / "report" / "index.html")
    assert len(page.source.encode()) < 3_600_000  # a third of it is the table of all classes, to be saved
    counts = {tag: sum(name == tag for name, _ in page.elements) for tag in ("img", "tr", "li", "path")}
    assert counts["img"] < 450 and counts["tr"] < 600 and counts["li"] < 400
    assert max(len(path["d"]) for path in page.of("path")) < 6000


def test_the_matrix_and_the_tables_say_what_they_leave_out(ended):
    page = read_page(ended / "report" / "index.html")
    blocks = [json.loads(block) for block in re.findall(r'application/json">(.*?)</script>', page.source)]
    assert [len(block["names"]) for block in blocks] == [MAX_CLASSES, 40]
    assert f"Confusion matrix, {MAX_CLASSES} of 1,500 classes" in page.text
    assert "1,350 classes are left out" in page.text
    assert "the weakest 200 of 1,500 classes" in page.text and "200 of 1,500 classes, the most frequent" in page.text
    assert len((ended / "report" / "classes_level1.csv").read_text(encoding="utf-8").splitlines()) == 1 + CLASSES
    places = [int(item["data-row"]) for item in page.of("li") if "data-row" in item]
    assert places and max(places) < MAX_CLASSES


def test_the_figures_have_a_size_that_a_screen_can_show(ended):
    sizes = {}
    for path in (ended / "report").glob("*.png"):
        with Image.open(path) as image:
            sizes[path.name] = image.size
    assert sizes.keys() == {"curves.png", "confusion_level0.png", "confusion_level1.png"}
    assert all(max(size) < 3000 for size in sizes.values())


def test_a_matrix_shows_the_classes_that_are_confused_most_then_the_most_frequent():
    counts = np.zeros((1000, 1000), int)
    counts[900, 10] = 7
    counts[20, 30] = 5
    counts[np.arange(500, 700), np.arange(500, 700)] = np.arange(1, 201)
    chosen = legible_classes(csr_array(counts))
    assert chosen.tolist() == [10, 20, 30, *range(554, 700), 900]
    assert len(chosen) == MAX_CLASSES
    np.testing.assert_array_equal(excerpt(csr_array(counts), chosen), counts[np.ix_(chosen, chosen)])
    assert legible_classes(csr_array(counts[:150, :150])).tolist() == [*range(150)]


def test_a_long_curve_keeps_its_peaks_and_its_gaps():
    values = np.sin(np.arange(1000) / 50)
    values[345], values[777] = 9, -9
    values[500:560] = np.nan
    chart = charts.curves([*range(1, 1001)], {"validation": values}, None)
    path = chart.paths["validation"]
    drawn = [float(y) for _, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]
    assert len(drawn) <= 300 and path.count("M") == 2
    assert min(drawn) < charts.TOP + 10 and max(drawn) > charts.BOTTOM - 10


def test_predictions_are_written_in_parts_and_read_as_one(tmp_path):
    run, log_probs = make_run(tmp_path, 900, (3, 2000))
    path, split = tmp_path / "x.parquet", run.dataset.splits["validation"]
    write_predictions(path, run.dataset.taxonomy, split, log_probs)
    assert pq.ParquetFile(path).num_row_groups > 1
    table = pq.read_table(path)
    assert table["id"].to_pylist() == list(split.ids)
    first = table["level1_probabilities"].combine_chunks()[600].as_py()
    np.testing.assert_array_equal(first, np.exp(log_probs["level1"][600].astype(np.float64)))
    read, labels = read_predictions(path, run.dataset.taxonomy)
    for level, values in log_probs.items():
        np.testing.assert_allclose(read[level], values, rtol=1e-12, atol=1e-15)
        np.testing.assert_array_equal(labels[level], split.labels[level])


def test_scoring_takes_little_more_memory_than_the_probabilities(tmp_path):
    run, log_probs = make_run(tmp_path, 1000, (30, 2000))
    split = run.dataset.splits["validation"]

    def peak(function, *arguments) -> float:
        """Returns the peak memory of a call, relative to the bytes of the largest level's log-probabilities."""
        tracemalloc.start()
        function(*arguments)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest / log_probs["level1"].nbytes

    assert peak(write_predictions, tmp_path / "x.parquet", run.dataset.taxonomy, split, log_probs) < 4
    assert peak(write_calibration, tmp_path, 1, split.ids, log_probs, split.labels) < 4


@pytest.mark.long
@pytest.mark.parametrize("classes", [(300, 5000), (5000,), (4000, 5000)], ids=str)
def test_5000_images_of_5000_classes_end_in_a_minute_and_400_megabytes(tmp_path, classes):
    end_run(*make_run(tmp_path / "first", 50, (2, 4)))  # imports and compiles, so that the measured run does not
    run, log_probs = make_run(tmp_path / "run", 5000, classes)
    before, began = _memory("VmRSS"), time.process_time()  # whatever else the machine does
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    end_run(run, log_probs)
    assert time.process_time() - began < 60
    assert _memory("VmHWM") - before < 4 * max(values.nbytes for values in log_probs.values())
    assert (run.workdir / "report" / "index.html").stat().st_size < 5_000_000


def _memory(name: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])
