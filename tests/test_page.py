"""The report page: whole, self-contained, everything from users' data escaped, for runs of any shape."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs import default
from fashion_jax.data.dataset import Dataset, Split
from fashion_jax.hierarchy import Taxonomy
from fashion_jax.report.augmentation import augmentation
from fashion_jax.report.contents import PageContents
from fashion_jax.report.page import SECTIONS, percent, write_page

EVIL = "<script>alert(1)</script>"
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """The elements of a page, its visible text, and whether every element is closed in its place."""

    def __init__(self, source: str):
        super().__init__()
        self.elements, self.text, self.open, self.source = [], "", [], source
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data

    def of(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


def make_split(folder: Path, taxonomy: Taxonomy, paths: list, name: str) -> Split:
    files = []
    for i in range(len(paths)):
        files.append(str(folder / f"{name}{i}.jpg"))
        if i < 60:
            Image.effect_noise((90, 60), 40).convert("RGB").save(files[-1])
    return Split([f"{name} {EVIL} {i}" for i in range(len(paths))], files, taxonomy.label_ids(paths))


def make_contents(folder: Path, levels=("main", "sub"), classes=4, epochs=3, right=False, **line) -> PageContents:
    """A run whose classes and ids are hostile; one in three validation images is wrong."""
    paths = [
        tuple(f"{level} {EVIL} {i % (k + 2) if k < len(levels) - 1 else i}" for k, level in enumerate(levels))
        for i in range(classes)
    ]
    taxonomy = Taxonomy.from_paths(levels, paths)
    splits = {"train": make_split(folder, taxonomy, paths * 3, "train")}
    splits["validation"] = make_split(folder, taxonomy, [*paths * 2, ("new",) * len(levels)], "validation")
    rng, log_probs = np.random.default_rng(0), {}
    for level in levels:
        labels = splits["validation"].labels[level]
        logits = rng.normal(size=(len(labels), taxonomy.num_classes(level)))
        chosen = np.where(right | (np.arange(len(labels)) % 3 > 0), labels, 0)
        logits[np.arange(len(labels)), chosen] += 20
        log_probs[level] = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    config = default.get_config()
    config.data.levels, config.num_epochs = {level: level for level in levels}, epochs
    names = [
        f"{s}/{level}/{m}"
        for s in ("train", "validation")
        for level in levels
        for m in ("loss", "accuracy", "macro_f1", "auroc")
    ]
    timing = {"train_seconds": 1.0, "validation_seconds": 1.0}
    lines = [
        {"epoch": e, "step": 10 * e, "timing": timing, **dict.fromkeys(names, 0.5 / e), **line}
        for e in range(1, epochs + 1)
    ]
    environment = {"devices": ["cpu"] * 8, "commit": "0123abc-dirty", "packages": {"jax": "0"}}
    environment |= {"processes": 1, "python": "3", "platform": "x"}
    dataset = Dataset(taxonomy, splits, {"no such file": [f"{EVIL}{i}" for i in range(12)]})
    return PageContents(folder / EVIL.replace("/", "_"), config, dataset, environment, lines, 10 * epochs, log_probs)


def page_of(folder: Path, contents: PageContents) -> Page:
    write_page(folder / "index.html", contents)
    return Page((folder / "index.html").read_text(encoding="utf-8"))


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
    assert len(page.of("script")) == 1 and EVIL not in page.source and EVIL in page.text
    for _, attributes in page.elements:
        assert "style" not in attributes and not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:").startswith("data:")
        assert re.fullmatch(r"#\w+|[\w.-]+", attributes.get("href", "#x"))
    assert not re.search(r"https?://|@import|url\(", page.source)
    assert len(page.source) < 4_000_000 and not re.search(r"\bnan\b|None|inf\b", page.text)


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
    assert percent(0.5 / 3) in page.text and "after epoch 3 of 3" in page.text
    predicted = contents.log_probs["sub"].argmax(1)
    labels = contents.validation.labels["sub"]
    wrong = int(((predicted != labels) & (labels >= 0)).sum())
    assert f"{wrong} of 12 validation images are wrong at sub" in page.text and wrong > 1
    assert len(page.of("img")) == wrong + 18 + 8 * 9
    assert "12 images: no such file" in page.text and "8 × cpu" in page.text and "git checkout 0123abc" in page.text


def test_an_image_that_cannot_be_read_does_not_stop_the_page(tmp_path):
    contents = make_contents(tmp_path)
    for file in contents.train.files + contents.validation.files:
        Path(file).write_bytes(b"no image")
    page = page_of(tmp_path, contents)
    assert not page.of("img") and "cannot be shown" in page.text


@pytest.mark.parametrize("classes", [4, 12])
def test_the_page_shows_what_the_network_is_shown(tmp_path, classes):
    """Of different classes as far as there are, and another image in each row."""
    contents = make_contents(tmp_path, classes=classes)
    contents.config.augment = "medium"
    data = augmentation(contents)
    assert len(data["rows"]) == 8 and data["preset"] == "medium"
    assert len({name.full for name, _, _ in data["rows"]}) == min(classes, 8)
    assert len({id for _, id, _ in data["rows"]}) == 8
    for _, _, pictures in data["rows"]:
        assert len(set(pictures)) == 1 + data["draws"] == 9
        decoded = Image.open(io.BytesIO(base64.b64decode(pictures[0].removeprefix("data:image/jpeg;base64,"))))
        assert decoded.size == (64, 64)
