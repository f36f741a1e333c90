"""Pages to test: a run of any shape whose names are hostile, and a reader of what was written."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from configs import default
from fashion_jax.config.loading import flatten
from fashion_jax.data.dataset import Dataset, Split
from fashion_jax.report.contents import PageContents
from fashion_jax.report.page import write_page
from fashion_jax.scoring.assessment import assess
from fashion_jax.scoring.pairing import Measured, compare_runs
from fashion_jax.scoring.seeds import over_seeds
from fashion_jax.taxonomy import Taxonomy
from fashion_jax.workdir.files import train_counts

EVIL = "<script>alert(1)</script>"
VOID = {"meta", "img", "br", "input"}


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
    files = [str(folder / f"{name}{i % 60}.jpg") for i in range(len(paths))]
    for file in set(files):
        Image.effect_noise((90, 60), 40).convert("RGB").save(file)
    return Split([f"{name} {EVIL} {i}" for i in range(len(paths))], files, taxonomy.label_ids(paths))


def make_contents(
    folder: Path,
    levels: tuple[str, ...] = ("main", "sub"),
    classes: int = 4,
    epochs: int = 3,
    right: bool = False,
    copies: int = 2,
    evil: str = EVIL,
    **line,
) -> PageContents:
    """A run whose classes and ids are hostile; one in three or four images is wrong, and one has no known label."""
    paths = [
        tuple(f"{level} {evil} {i % (k + 2) if k < len(levels) - 1 else i}" for k, level in enumerate(levels))
        for i in range(classes)
    ]
    taxonomy = Taxonomy.from_paths(levels, paths)
    splits = {"train": make_split(folder, taxonomy, paths * 3, "train")}
    splits["validation"] = make_split(folder, taxonomy, [*paths * copies, ("new",) * len(levels)], "validation")
    labels = splits["validation"].labels
    log_probs = {
        level: _log_probs(labels[level], taxonomy.num_classes(level), right, 3 + depth)
        for depth, level in enumerate(levels)
    }
    config = default.get_config()
    config.data.levels, config.num_epochs = {level: level for level in levels}, epochs
    environment = {"devices": ["cpu"] * 8, "commit": "0123abc-dirty", "packages": {"jax": "0"}}
    environment |= {"processes": 1, "python": "3", "platform": "x"}
    environment |= {
        "starts": [{"step": 0, "changes": []}, {"step": 14, "changes": ["batch_size is <b> instead of 16"]}]
    }
    data = Dataset(taxonomy, splits, {"no such file": [f"{evil}{i}" for i in range(12)]}).summary(config.batch_size)
    temperatures = dict.fromkeys(levels, 1.5)
    return PageContents(
        workdir=folder / evil.replace("/", "_"),
        config=config,
        taxonomy=taxonomy,
        environment=environment,
        data=data,
        lines=_lines(levels, epochs, line),
        step=10 * epochs,
        split_name="validation",
        split=splits["validation"],
        log_probs=log_probs,
        assessment=assess(log_probs, labels, taxonomy, train_counts(data, taxonomy), temperatures),
        temperatures=temperatures,
        train=splits["train"],
    )


def _log_probs(labels: np.ndarray, size: int, right: bool, every_nth: int) -> np.ndarray:
    rng, rows = np.random.default_rng(0), np.arange(len(labels))
    logits = rng.normal(size=(len(labels), size))
    logits[rows, np.where(right | (rows % every_nth > 0), labels, 0)] += 20
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def _lines(levels: tuple[str, ...], epochs: int, line: dict) -> list[dict]:
    names = [
        f"{s}/{level}/{m}"
        for s in ("train", "validation")
        for level in levels
        for m in ("loss", "accuracy", "macro_f1", "auroc")
    ]
    timing = {"train_seconds": 1.0, "validation_seconds": 1.0, "images_per_second": 99.0, "data_wait_fraction": 0.1}
    return [
        {"epoch": e, "step": 10 * e, "timing": timing, **dict.fromkeys(names, 0.5 / e), **line}
        for e in range(1, epochs + 1)
    ]


def as_evaluated(runs: list[PageContents]) -> list[PageContents]:
    """The runs as evaluate hands them to the page: tested against the first one, and with the groups of seeds."""
    tables = [Measured(run.taxonomy, run.split.ids, run.split.labels, run.calibrated) for run in runs]
    further = [replace(run, comparison=compare_runs(tables[0], x)) for run, x in zip(runs[1:], tables[1:], strict=True)]
    found = [runs[0], *further]
    for group in over_seeds((flatten(run.config), run.split.ids, run.assessment) for run in runs):
        found[group.runs[0]] = replace(found[group.runs[0]], over_seeds=group)
    return found


def page_of(folder: Path, contents: PageContents) -> Page:
    write_page(folder / "index.html", contents)
    return read_page(folder / "index.html")


def read_page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))
