"""The page's figures: their content, their layout inside the picture, and hostile names."""

import math

import numpy as np
import pytest
from matplotlib import image
from matplotlib.colors import same_color

from fashion_jax.report.figures import confusion
from fashion_jax.report.figures import curves as figures
from fashion_jax.report.figures import style as drawing
from fashion_jax.report.file_names import file_stem

HOSTILE = [
    "$x^{",
    "<script>alert(1)</script>/=1+1",
    "<script>alert(1)</script>/\u8863\u7c7b $\\\\frac$",
    "a\\/b/c\\/d",
    "very " * 30 + "/" + "long " * 40,
    "line\nbreak/\x1b[31mred",
    "\udcff/x",
    "\U0001f457/@SUM(A1)",
    "C:\\\\/a\\\\",
]


@pytest.fixture
def drawn(monkeypatch):
    """Returns the Figures that are saved while a test runs."""
    saved = []
    for module in (figures, confusion):
        monkeypatch.setattr(
            module, "save_figure", lambda figure, path: (saved.append(figure), drawing.save_figure(figure, path))
        )
    return saved


def _lines(num_epochs: int, levels: tuple[str, ...] = ("main", "sub")) -> list[dict]:
    return [
        {
            "epoch": epoch,
            "step": 10 * epoch,
            "learning_rate": 0.01,
            "timing": {"images_per_second": 1.0},
            **{f"{split}/loss": 2 / epoch for split in ("train", "validation")},
            **{
                f"{split}/{level}/{metric}": value
                for split in ("train", "validation")
                for level in levels
                for metric, value in {
                    "loss": abs(epoch - 3) + 0.5,
                    "accuracy": 1 - 1 / (1 + epoch),
                    "macro_f1": 0.5,
                    "auroc": 0.9,
                }.items()
            },
        }
        for epoch in range(1, num_epochs + 1)
    ]


def _assert_text_is_inside(figure) -> None:
    width, height = figure.canvas.get_width_height()
    texts = [*figure.texts, *(text for ax in figure.axes for text in ax.texts)]
    for ax in figure.axes:
        texts += [*ax.get_xticklabels(), *ax.get_yticklabels(), ax.xaxis.label, ax.yaxis.label]
    for text in texts:
        if text.get_text():
            box = text.get_window_extent()
            assert box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1, text


def test_curves_show_every_metric_and_the_best_epoch(tmp_path, drawn):
    lines = _lines(5)
    lines[1]["validation/sub/loss"] = None
    lines[2]["validation/sub/loss"] = math.nan
    del lines[3]["validation/sub/loss"]
    figures.write_curves(lines, tmp_path / "curves.png")
    assert image.imread(tmp_path / "curves.png").shape[:2] == (560, 1280)
    axes = drawn[0].axes
    assert [ax.get_title("left") for ax in axes] == ["loss", "accuracy", "macro-F1", "AUROC"] * 2
    assert [axes[0].get_ylabel(), axes[4].get_ylabel()] == ["main", "sub"]
    assert axes[0].get_title("right") == "best 0.500 at epoch 3"
    assert axes[1].get_title("right") == "best 0.833 at epoch 5"
    train, validation, ring = axes[4].lines
    np.testing.assert_array_equal(train.get_ydata(), [2.5, 1.5, 0.5, 1.5, 2.5])
    np.testing.assert_array_equal(validation.get_ydata(), [2.5, np.nan, np.nan, np.nan, 2.5])
    assert ring.get_xdata() == [1]
    assert [text.get_text() for text in drawn[0].legends[0].texts] == ["train", "validation", "best validation"]


@pytest.mark.parametrize("num_epochs", [1, 2, 40])
def test_epochs_are_integers_and_short_runs_have_markers(tmp_path, drawn, num_epochs):
    figures.write_curves(_lines(num_epochs, ("main",)), tmp_path / "curves.png")
    ax = drawn[0].axes[0]
    low, high = ax.get_xlim()
    ticks = [tick for tick in ax.get_xticks() if low <= tick <= high]
    assert ticks and all(tick == round(tick) and 1 <= tick <= num_epochs for tick in ticks)
    assert len(ax.lines[1].get_markevery()) == (num_epochs if num_epochs < 40 else 0)


def test_a_point_without_neighbours_has_a_marker_in_a_long_run(tmp_path, drawn):
    lines = _lines(40, ("main",))
    lines[4]["train/main/loss"] = lines[6]["train/main/loss"] = math.inf
    figures.write_curves(lines, tmp_path / "curves.png")
    assert drawn[0].axes[0].lines[0].get_markevery() == [5]


def test_curves_without_values_and_with_hostile_levels(tmp_path):
    figures.write_curves([], tmp_path / "none.png")
    figures.write_curves(_lines(1, (HOSTILE[2], HOSTILE[4])), tmp_path / "hostile.png")
    lines = [{"epoch": 1, "validation/main/loss": None}]
    figures.write_curves(lines, tmp_path / "null.png")
    assert all(image.imread(path).shape[1] == 1280 for path in tmp_path.iterdir())


def test_confusion_says_what_is_in_the_matrix(tmp_path, drawn):
    names = ["Apparel/Dress", "Apparel/Topwear", "Footwear/Shoes"]
    confusion.write_confusion(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 6]]), names, "sub", tmp_path / "sub.png")
    ax = drawn[0].axes[0]
    title, legend = (text.get_text() for text in drawn[0].texts)
    assert title == "sub: accuracy 90.0 %"
    assert legend.startswith("10 images") and "grey" in legend
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Dress", "Topwear", "Shoes"]
    texts = [text.get_text() for text in ax.texts]
    assert texts[:3] == ["3", "1", "6"]
    assert sorted(texts[3:]) == ["Apparel", "Apparel", "Footwear", "Footwear"]
    np.testing.assert_allclose(ax.collections[0].get_array()[[0, 2]], [[0.75, 0.25, 0], [0, 0, 1]])
    pixels = (image.imread(tmp_path / "sub.png")[..., :3] * 255).round().astype(int)
    assert same_color("#eceef1", tuple(pixels[_pixel(drawn[0], 1, 0)] / 255))
    assert (pixels[_pixel(drawn[0], 2, 2)] < 120).all()


def _pixel(figure, row: int, column: int) -> tuple[int, int]:
    """Returns a pixel near a corner of a cell, where no count is printed."""
    x, y = figure.axes[0].transData.transform((column + 0.2, row + 0.2))
    return int(figure.canvas.get_width_height()[1] - y), int(x)


@pytest.mark.parametrize(
    ("size", "counted"), [(1, True), (30, True), (31, False), pytest.param(150, False, marks=pytest.mark.long)]
)
def test_confusion_of_any_size_keeps_its_text_inside(tmp_path, drawn, size, counted):
    names = [f"Group {i // 8}/Class number {i}" for i in range(size)]
    confusion.write_confusion(np.diag(np.arange(size) + 1), names, "Validation, sub", tmp_path / "x.png")
    height, width = image.imread(tmp_path / "x.png").shape[:2]
    assert 250 < width < (1400 if counted else 2600) and 200 < height < 2600
    assert ("1" in [text.get_text() for text in drawn[0].axes[0].texts]) == counted
    assert len(drawn[0].axes[0].get_xticklabels()) == size
    _assert_text_is_inside(drawn[0])


def test_hostile_names_are_drawn_as_they_are(tmp_path, drawn):
    matrix = np.full((len(HOSTILE), len(HOSTILE)), 123456)
    confusion.write_confusion(matrix, HOSTILE, "$\\frac$ " + "title " * 40, tmp_path / "x.png")
    labels = [label.get_text() for label in drawn[0].axes[0].get_yticklabels()]
    assert labels[:4] == ["$x^{", "=1+1", "\u8863\u7c7b $\\frac$", "c/d"]
    assert len(labels[4]) <= 28 and "\u2026" in labels[4]
    assert labels[5] == " [31mred"
    groups = [text.get_text() for text in drawn[0].axes[0].texts]
    assert {"<script>alert(1)</script>", "a/b", "\\udcff", "C:\\"} <= set(groups)
    assert labels[8] == "a\\"
    _assert_text_is_inside(drawn[0])


def test_confusion_without_images(tmp_path, drawn):
    confusion.write_confusion(np.zeros((2, 2), int), ["a", "b"], "sub", tmp_path / "x.png")
    assert drawn[0].texts[0].get_text() == "sub: no images"


def test_level_names_become_safe_and_distinct_file_names():
    assert file_stem("sub_2-a") == "sub_2-a"
    odd = ["a/b", "a_b", "a b", "../x", "..", "\u8863", "\u88e4", "x" * 300, "", "$\udcff", "a."]
    stems = [file_stem(level) for level in odd]
    assert len(set(stems)) == len(odd)
    assert all(set(stem) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-") and len(stem) < 80 for stem in stems)
