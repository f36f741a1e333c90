"""The report page: complete, self-contained, everything from users' data escaped, for runs of any shape."""

import base64
import dataclasses
import hashlib
import io
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.sparse import csr_array

from fashion_jax.report import album
from fashion_jax.report.album import BUDGET
from fashion_jax.report.folder import write_folder
from fashion_jax.report.page import SECTIONS
from fashion_jax.report.rendering import percent, points, text, whole
from fashion_jax.report.sections import galleries
from fashion_jax.report.sections.augmentation import augmentation
from fashion_jax.report.sections.classes import excess_confidence
from fashion_jax.report.sections.confusion import confused_pairs
from fashion_jax.report.sections.curves import curves
from tests.pages import EVIL, make_contents, page_of, read_page

SHAPES = {
    "two levels": {},
    "one level, one epoch": {"levels": ("kind",), "epochs": 1},
    "three levels": {"levels": ("a", "b", "c"), "classes": 12},
    "one class": {"classes": 1},
    "250 classes": {"classes": 250, "epochs": 200},
    "no errors": {"right": True},
    "no values": {"validation/sub/auroc": None, "validation/main/loss": None},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_page_is_whole_and_self_contained_for_any_run(tmp_path, shape):
    page = page_of(tmp_path, make_contents(tmp_path, **SHAPES[shape]))
    assert [attributes["id"] for attributes in page.of("section")] == [section.name for section in SECTIONS]
    kinds = [attributes.get("type") for attributes in page.of("script")]
    assert kinds.count(None) == 1 and set(kinds) <= {None, "application/json"}
    assert EVIL not in page.source and EVIL in page.text
    for _, attributes in page.elements:
        assert "style" not in attributes and not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:").startswith("data:")
        assert re.fullmatch(
            r"#[\w-]+|[\w.-]+|data:text/csv;charset=utf-8;base64,[\w+/=]+", attributes.get("href", "#x")
        )
    addresses = page.source.replace("http://www.w3.org/2000/svg", "")  # a name, which nothing loads
    assert not re.search(r"https?://|@import|url\(", addresses)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"][1:] for attributes in page.of("a") if attributes["href"].startswith("#")} <= {*ids}
    for tag in ("img", "svg"):
        assert all(a.get("alt") or a.get("aria-label") or a.get("aria-hidden") for a in page.of(tag))
    pictures = [attributes["src"] for attributes in page.of("img") if "src" in attributes]
    assert {attributes["data-of"] for attributes in page.of("img") if "data-of" in attributes} <= {*ids}
    assert (
        len(page.source) < 4_000_000
        and sum(map(len, pictures)) <= BUDGET
        and not re.search(r"\bnan\b|None|inf\b", page.text)
    )


def test_scripts_and_styles_are_the_ones_that_the_policy_names(tmp_path):
    source = page_of(tmp_path, make_contents(tmp_path)).source
    for tag in ("script", "style"):
        body = re.search(f"<{tag}>(.*?)</{tag}>", source, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src &#39;sha256-{digest}&#39;".replace("+", "&#43;") in source.replace("+", "&#43;")
    assert "default-src &#39;none&#39;" in source


def test_the_page_says_what_the_run_has_reached(tmp_path):
    contents = make_contents(tmp_path, classes=6)
    page = page_of(tmp_path, contents)
    assessed = contents.assessment.levels["sub"]
    assert percent(assessed.scores["accuracy"]) in page.text and "after epoch 3 of 3" in page.text
    most = contents.counts("sub")[0] / contents.counts("sub").sum()  # every class has as many training images
    assert f"baseline (always “sub {EVIL[:8]}" in page.text and percent(most) in page.text
    low, high = assessed.intervals["macro_f1"]
    assert f"{low:.3f} to {high:.3f}" in page.text
    contradictions = contents.assessment.decodes["independent"].scores["contradiction_rate"]
    assert contradictions > 0 and percent(contradictions) in page.text
    predicted = contents.log_probs["sub"].argmax(1)
    labels = contents.split.labels["sub"]
    wrong = int(((predicted != labels) & (labels >= 0)).sum())
    assert f"{wrong} of 12 images are wrong at sub" in page.text and wrong > 1
    assert "12 images: no such file" in page.text and "8 × cpu" in page.text and "git checkout 0123abc" in page.text
    assert "after step 14: batch_size is <b> instead of 16." in page.text


def test_the_top_of_the_page_says_what_the_data_lacks(tmp_path):
    contents = make_contents(tmp_path, classes=5)
    data = {**contents.data, "warnings": ["classes look alike: <b>"]}
    contents = dataclasses.replace(
        contents, data=data, log_probs={k: np.eye(len(x), x.shape[1]) for k, x in contents.log_probs.items()}
    )
    page = page_of(tmp_path, contents)
    top = page.text.partition("Measured on")[0]
    assert "Classes look alike: <b>." in top and "5 classes have fewer than 10 training images" in top
    assert "15 training images" in top and "never predicted" not in top
    contents = dataclasses.replace(
        contents, log_probs={k: np.eye(1, x.shape[1]).repeat(len(x), 0) for k, x in contents.log_probs.items()}
    )
    assert "4 classes are never predicted" in page_of(tmp_path, contents).text


def test_a_run_of_before_has_a_page_without_what_its_data_json_lacks(tmp_path):
    contents = make_contents(tmp_path)
    train = {name: value for name, value in contents.data["splits"]["train"].items() if name != "left_over_per_epoch"}
    page = page_of(tmp_path, dataclasses.replace(contents, data={"splits": {"train": train}}))
    assert "no validation images" not in page.text and "fewer than 10 training images" in page.text


def test_an_image_that_cannot_be_read_does_not_stop_the_page(tmp_path):
    contents = make_contents(tmp_path)
    for file in contents.train.files + contents.split.files:
        Path(file).write_bytes(b"no image")
    page = page_of(tmp_path, contents)
    assert not page.of("img") and "cannot be shown" in page.text


@pytest.mark.parametrize("classes", [4, 12])
def test_the_page_shows_what_the_network_is_shown(tmp_path, classes):
    """Each row shows another image, of different classes as far as there are."""
    contents = make_contents(tmp_path, classes=classes)
    contents.config.augment = "light"
    data = augmentation(contents)
    assert len(data["rows"]) == 8 and data["preset"] == "light"
    assert len({name.full for name, _, _ in data["rows"]}) == min(classes, 8)
    assert len({id for _, id, _ in data["rows"]}) == 8
    for _, _, pictures in data["rows"]:
        assert len(set(pictures)) == 1 + data["draws"] == 9
        decoded = Image.open(io.BytesIO(base64.b64decode(pictures[0].removeprefix("data:image/jpeg;base64,"))))
        assert decoded.size == (64, 64)


def test_a_matrix_has_the_counts_and_harmless_names(tmp_path):
    contents = make_contents(tmp_path, classes=6, evil="</script><b>")
    source = page_of(tmp_path, contents).source
    blocks = [json.loads(block) for block in re.findall(r'application/json">(.*?)</script>', source)]
    assert [len(block["names"]) for block in blocks] == [6, 2]
    cells = np.array(blocks[0]["cells"]).reshape(-1, 3)
    matrix = np.zeros((6, 6), int)
    matrix[cells[:, 0], cells[:, 1]] = cells[:, 2]
    labels, predicted = contents.split.labels["sub"], contents.log_probs["sub"].argmax(1)
    for i, j in np.ndindex(6, 6):
        assert matrix[i, j] == ((labels == i) & (predicted == j)).sum()
    assert blocks[0]["support"] == matrix.sum(1).tolist() and blocks[0]["names"][0] == "sub </script><b> 0"
    assert "</script><b>" not in source


def test_confused_pairs_are_the_largest_cells_off_the_diagonal():
    counts = csr_array([[9, 2, 0], [5, 1, 0], [0, 1, 0]])
    assert confused_pairs(counts) == [(1, 0, 5, 6), (0, 1, 2, 11), (2, 1, 1, 1)]
    assert confused_pairs(csr_array(np.eye(3, dtype=int))) == []


def test_excess_confidence_by_hand():
    """Class 0 is predicted for three known images with 0.9, 0.7 and 0.5, of which one is right; class 2 for none."""
    probs = np.array([[0.9, 0.1, 0], [0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.4, 0.6, 0], [0.8, 0.2, 0]])
    with np.errstate(divide="ignore"):
        excess = excess_confidence(np.log(probs), np.array([0, 1, 2, 1, -1]))
    np.testing.assert_allclose(excess, [0.7 - 1 / 3, -0.4, np.nan])


def test_the_galleries_hold_the_images_that_they_say(tmp_path):
    contents = make_contents(tmp_path, classes=6)
    found = {gallery["name"]: gallery["groups"] for gallery in galleries.galleries(contents)["galleries"]}
    labels, log_probs = contents.split.labels["sub"], contents.calibrated["sub"][np.arange(len(contents.split))]
    predicted = log_probs.argmax(1)
    (errors,) = found["errors"]
    rows = [example.row for example in errors["examples"]]
    assert sorted(rows) == np.flatnonzero((labels >= 0) & (predicted != labels)).tolist()
    assert np.all(np.diff(log_probs.max(1)[rows]) <= 0)
    for group in found["pairs"]:
        for example in group["examples"]:
            assert not example.right
            if group["level"] == "sub":
                assert (example.label, example.predicted) == group["heading"]
    (doubts,) = found["doubts"]
    top = np.sort(np.exp(log_probs), axis=1)[:, -2:]
    margins = (top[:, 1] - top[:, 0])[labels >= 0]
    assert doubts["examples"][0].probability - doubts["examples"][0].other_probability == pytest.approx(margins.min())


def test_where_the_model_looked_stands_beside_the_picture(tmp_path):
    asked = []

    def explain(rows, classes):
        asked.append((rows, classes))
        return {level: [Image.new("RGB", (8, 8), "red") for _ in rows] for level in classes}

    contents = dataclasses.replace(make_contents(tmp_path), explain=explain)
    page = page_of(tmp_path, contents)
    ((rows, classes),) = asked
    assert len(set(rows)) == len(rows)
    np.testing.assert_array_equal(classes["main"], contents.log_probs["main"].argmax(1)[rows])
    heat = [attributes for attributes in page.of("img") if attributes.get("class") == "heat"]
    assert heat and all("sub" in a["alt"] for a in heat)
    assert not [a for a in page_of(tmp_path, make_contents(tmp_path)).of("img") if a.get("class") == "heat"]


def test_a_page_of_other_images_has_no_training_images(tmp_path):
    contents = make_contents(tmp_path)
    contents = dataclasses.replace(contents, train=None, step=7, split_name="test", command="evaluate 'a b'")
    page = page_of(tmp_path, contents)
    ids = [attributes["id"] for attributes in page.of("section")]
    assert "images" not in ids and "augmentation" not in ids and {"curves", "data"} <= {*ids}
    assert "after step 7" in page.text and "evaluate 'a b'" in page.text and "9 test images" in page.text
    assert "curves" not in [a["id"] for a in page_of(tmp_path, dataclasses.replace(contents, lines=[])).of("section")]


def test_the_folder_has_what_the_page_names(tmp_path):
    write_folder(tmp_path, make_contents(tmp_path))
    page = read_page(tmp_path / "index.html")
    files = {attributes["href"] for attributes in page.of("a") if attributes["href"][0] != "#"}
    saved = {attributes["download"]: attributes["href"] for attributes in page.of("a") if "download" in attributes}
    files -= {*saved.values()}
    assert files == {
        f"{kind}_{level}.{end}" for kind, end in (("confusion", "png"), ("classes", "csv")) for level in ("main", "sub")
    } | {"label_errors.csv"}
    assert all((tmp_path / file).is_file() for file in [*files, "curves.png"])
    for name, uri in saved.items():
        assert base64.b64decode(uri.partition(",")[2]) == (tmp_path / name).read_bytes()
    assert {*saved} == {"classes_main.csv", "classes_sub.csv"}
    header, *rows = (tmp_path / "label_errors.csv").read_text(encoding="utf-8").splitlines()
    assert header.startswith("id,level,") and len(rows) == 1


def test_numbers_and_names_for_people():
    assert [percent(x) for x in (0.1234, None, float("nan"), float("inf"))] == ["12.3\u202f%", "–", "–", "–"]
    assert [points(x) for x in (0.1, -0.014, 0.0)] == ["+10.0", "\u22121.4", "+0.0"]
    assert text("a\u202eb\u2066c\x1bd\ud800") == "abc d\\ud800"
    assert text("x" * 100, 10) == "xxxxxx…xxx"


def test_an_image_is_embedded_once_however_often_it_is_shown(tmp_path):
    page = page_of(tmp_path, make_contents(tmp_path, classes=6, copies=12))
    embedded = [attributes["id"] for attributes in page.of("img") if attributes.get("id", "").startswith("picture-")]
    again = [attributes["data-of"] for attributes in page.of("img") if "data-of" in attributes]
    assert len(set(embedded)) == len(embedded) and len(again) > 10 and {*again} <= {*embedded}


def test_large_images_are_shrunk_until_they_fit_the_budget(tmp_path, monkeypatch):
    contents = make_contents(tmp_path, classes=6, copies=12)
    for file in {*contents.split.files, *contents.train.files}:
        Image.effect_noise((600, 400), 90).convert("RGB").save(file)

    monkeypatch.setattr(album, "BUDGET", 400_000)
    page = page_of(tmp_path, contents)
    sizes = [len(a["src"]) for a in page.of("img") if a.get("id", "").startswith("picture-")]
    assert len(sizes) > 50 and 200_000 < sum(sizes) <= 400_000
    alone = album.Album()
    slot = alone.show(("validation", 0))
    alone.embed({"validation": contents.split})
    with Image.open(io.BytesIO(base64.b64decode(alone.pictures[slot.key].partition(",")[2]))) as picture:
        assert picture.size == (480, 320)


def test_an_id_of_any_kind_is_whole_and_harmless():
    assert whole("a" * 200) == "a" * 200
    assert whole("a\nb\x1b[31m\u202ec\ud800\u2028") == r"a\nb\x1b[31m\u202ec\ud800\u2028"
    assert whole("\u05e9\u05de <b>") == "\u05e9\u05de <b>"


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ([30.0, 2.0, 1.0], ["epoch 1 is 15 times", "BatchNorm"]),
        ([9.0, 1.0, 0.5], []),
        ([None, 30.0, 2.0], ["epoch 2 is 15 times", "BatchNorm"]),
    ],
)
def test_a_loss_ten_times_the_next_is_explained(tmp_path, losses, words):
    contents = make_contents(tmp_path)
    lines = [{**x, "validation/sub/loss": loss} for x, loss in zip(contents.lines, losses, strict=True)]
    rows = curves(dataclasses.replace(contents, lines=lines))["rows"]
    notes = {level: " ".join(jumps) for level, _, jumps in rows}
    assert not notes["main"] and bool(notes["sub"]) == bool(words) and all(word in notes["sub"] for word in words)
    late = [{**line, "step": 5000 + line["step"]} for line in lines]
    late = [{**late[0], "validation/sub/loss": 2.0}, {**late[1], "validation/sub/loss": 30.0}, late[2]]
    (_, (_, _, jumps)) = curves(dataclasses.replace(contents, lines=late))["rows"]
    assert len(jumps) == 1 and f"epoch 2 is {30 / losses[2]:.0f} times" in jumps[0]
    assert "BatchNorm" not in jumps[0] and "learning_rate" in jumps[0]


def test_150_classes_and_many_images_are_quick_and_small(tmp_path):
    contents = make_contents(tmp_path, classes=150, copies=20, epochs=30)
    began = time.process_time()  # a busy machine keeps the test waiting, which says nothing about the page
    page = page_of(tmp_path, contents)
    assert time.process_time() - began < 30 and len(page.source.encode()) < 6_000_000
    assert sum(tag in ("rect", "path") for tag, _ in page.elements) < 3000


@pytest.mark.long
def test_150_classes_and_10000_images_are_written_in_a_minute(tmp_path):
    contents = make_contents(tmp_path, classes=150, copies=67, epochs=30)
    assert len(contents.split) > 10_000
    began = time.process_time()
    write_folder(tmp_path, contents)
    assert time.process_time() - began < 60 and (tmp_path / "index.html").stat().st_size < 6_000_000
