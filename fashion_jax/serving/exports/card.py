"""Writes the card of an export, in the format of Hugging Face's model cards."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fashion_jax.command_line.formats import UNDEFINED
from fashion_jax.data.findings import FEW_IMAGES
from fashion_jax.serving.exports.card_lines import PACKAGES, python_lines
from fashion_jax.serving.exports.folder import CARD, INDEX, MODELS, TEST_VECTORS, Export
from fashion_jax.serving.exports.graph import FEATURES, PATH
from fashion_jax.taxonomy import Taxonomy, class_labels
from fashion_jax.workdir.paths import CONFIG, TAXONOMY

if TYPE_CHECKING:
    from fashion_jax.scoring.assessment import Assessment
    from fashion_jax.scoring.intervals import Interval

_LIBRARIES = {"onnx": "onnx", "savedmodel": "tensorflow", "stablehlo": "jax", "tflite": "tflite"}
_NAMES = {"onnx": "ONNX", "savedmodel": "TensorFlow SavedModel", "stablehlo": "StableHLO", "tflite": "TFLite (LiteRT)"}
_MOST_NAMED = 8  # classes that a sentence names
_FITTED = {
    "stretch": "stretched to",
    "crop": "scaled to cover, and cropped in the centre to",
    "letterbox": "scaled to fit into, with white bars,",
}


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a card says about the run.

    Attributes:
        model: name of the trunk.
        image_size: (height, width) of the network's input.
        counts: split -> number of images.
        validation_counts: level -> validation images of each class, in the order of the ids.
        assessment: of the run's predictions on its validation split, decoded as the export decodes; None without one.
        assessed: number of these images.
        is_measured: whether these are predictions as the export makes them, of the same checkpoint.
        notes: sentences on how far the metrics are those of the export.
        compared: sentences on the comparison with the run.
        cost: sentences on what 8-bit integers cost; empty for float32.
        origins: sentences on the weights of others that the run began with.
        base_models: repositories of the Hugging Face Hub, as OWNER/NAME, whose weights it began with.
        vectors: a sentence on the images of the test vectors.
    """

    model: str
    image_size: tuple[int, int]
    counts: Mapping[str, int]
    validation_counts: Mapping[str, Sequence[int]]
    assessment: Assessment | None
    assessed: int
    is_measured: bool
    notes: Sequence[str]
    compared: Sequence[str]
    cost: Sequence[str]
    origins: Sequence[str]
    base_models: Sequence[str]
    vectors: str


def card(export: Export, taxonomy: Taxonomy, facts: Facts) -> str:
    """Returns the card of an export, Markdown after a front matter in YAML."""
    parts = [
        _front_matter(export, facts),
        _introduction(export, taxonomy, facts),
        _loading(export),
        _outputs(export, taxonomy, facts),
        _data(export, taxonomy, facts),
        _metrics(taxonomy, facts),
        _comparison(facts),
        _limits(export, taxonomy, facts),
        _files(export),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(export: Export, facts: Facts) -> str:
    import yaml

    tags = ["image-classification", "hierarchical-classification", "fashion", "fashion_jax", _LIBRARIES[export.format]]
    front: dict[str, Any] = {
        "library_name": _LIBRARIES[export.format],
        "pipeline_tag": "image-classification",
        "tags": [*tags, *(["int8"] if export.int8 else [])],
    }
    if facts.base_models:
        front["base_model"] = [*facts.base_models]
    if facts.assessment and facts.is_measured:
        result = {
            "task": {"type": "image-classification", "name": "Hierarchical image classification"},
            "dataset": {"type": "private", "name": "the validation split of the training", "split": "validation"},
            "metrics": _metric_entries(facts.assessment),
        }
        front["model-index"] = [{"name": f"fashion_jax-{facts.model}", "results": [result]}]
    fields = yaml.safe_dump(front, allow_unicode=True, sort_keys=False)
    return f"---\n# license: name the licence of your model here, such as apache-2.0\n{fields}---"


def _metric_entries(assessment: Assessment) -> list[dict[str, Any]]:
    """Returns the metrics as Hugging Face lists them; undefined ones are left out."""
    found: list[dict[str, Any]] = []
    for level, assessed in assessment.levels.items():
        for kind, score in (("accuracy", "accuracy"), ("f1", "macro_f1"), ("roc_auc", "auroc")):
            found.append({"type": kind, "name": f"{score} of {level} by itself", "value": assessed.scores[score]})
    for decoded in assessment.decodes.values():
        found.append({"type": "accuracy", "name": "accuracy of paths", "value": decoded.scores["path_accuracy"]})
    return [entry | {"value": round(entry["value"], 4)} for entry in found if math.isfinite(entry["value"])]


def _introduction(export: Export, taxonomy: Taxonomy, facts: Facts) -> str:
    levels = " and ".join(f"{taxonomy.num_classes(level)} classes of `{level}`" for level in taxonomy.levels)
    height, width = facts.image_size
    scaling = ", calibration" if export.calibrated else ", temperatures" if export.calibration_note else ""
    inside = f"preprocessing{scaling} and decoding"
    numbers = ", whose convolutions and hidden layers compute in 8-bit integers" if export.int8 else ""
    return (
        f"# Classifier of fashion images: {_NAMES[export.format]}\n\n"
        f"This model tells the class of a photo of one product at each level of a tree: {levels}. It is a "
        f"{facts.model} at {width} × {height} pixels with {export.parameters:,} parameters "
        f"({export.flops_per_image / 1e6:,.0f} MFLOP for an image), trained with fashion_jax (checkpoint of step "
        f"{export.step:,}) and exported with its {inside} inside{numbers}.\n\n"
        "## Use\n\nUse it to sort or search catalogues of products like those it was trained on, with one product in "
        "each photo. It gives an answer for every image, also for one that shows no product at all."
    )


def _loading(export: Export) -> str:
    lines = python_lines(export.format, export.canvas, export.resize)
    return (
        f"These lines classify photo.jpg in this folder, after `pip install {PACKAGES[export.format]}`:\n\n"
        f"```python\n{lines}```\n\n"
        "With fashion_jax, files are decoded exactly as in training:\n\n"
        "```python\nimport fashion_jax as fj\n\nprint(fj.load('.').predict(['photo.jpg'])[0].to_dict())\n```"
    )


def _outputs(export: Export, taxonomy: Taxonomy, facts: Facts) -> str:
    height, width = export.canvas
    kind = "calibrated probabilities" if export.calibrated else "probabilities, not calibrated"
    kind += " for these predictions" if export.calibration_note else ""
    rows = [f"| `{level}_probabilities` | float32 [batch, {n}] | {kind}{_SUMS} |" for level, n in _sizes(taxonomy)]
    rows += [
        f"| `{PATH}` | int32 [batch, {len(taxonomy.levels)}] | the likeliest path through the tree, a class for each "
        "level; -1 below a class without children |",
        f"| `{FEATURES}` | float32 [batch, {export.features}] | the features of the image, for search by similarity |",
    ]
    table = "\n".join(["| output | type | content |", "| --- | --- | --- |", *rows])
    return (
        f"The input is `images`, uint8 [batch, {height}, {width}, 3]: RGB, upright, transparent pixels on white, "
        f"{_FITTED[export.resize]} {width} × {height} pixels. The model itself normalises the pixels. "
        f"`{TAXONOMY}` has the names of the classes in the order of the columns, and `{TEST_VECTORS}` holds inputs "
        f"with the outputs that the run itself gives for them in float32. {facts.vectors}\n\n{table}"
    ) + (f"\n\n{export.calibration_note}" if export.calibration_note else "")


_SUMS = ", in which a class has the sum of its children"


def _sizes(taxonomy: Taxonomy) -> list[tuple[str, int]]:
    return [(level, taxonomy.num_classes(level)) for level in taxonomy.levels]


def _data(export: Export, taxonomy: Taxonomy, facts: Facts) -> str:
    images = ", ".join(f"{count:,} of the split `{split}`" for split, count in facts.counts.items())
    level = taxonomy.levels[-1]
    rows = [
        f"| {_cell(name)} | {train:,} | {validation:,} |"
        for name, train, validation in zip(
            taxonomy.classes[level], export.train_counts[level], facts.validation_counts[level], strict=True
        )
    ]
    table = "\n".join([f"| class of `{level}` | training images | validation images |", "| --- | --- | --- |", *rows])
    said = [f"Images: {images}.", f"Levels, coarse to fine: {_listed(taxonomy.levels)}.", *map(_escaped, facts.origins)]
    return f"## Data\n\n{' '.join(said)}\n\n{table}"


def _metrics(taxonomy: Taxonomy, facts: Facts) -> str:
    notes = " ".join(facts.notes)
    if facts.assessment is None:
        return f"## Metrics\n\n{notes}"
    (decoded,) = facts.assessment.decodes.values()
    rows = []
    for level, assessed in facts.assessment.levels.items():
        cells = [_score(assessed.scores[name], assessed.intervals.get(name)) for name in _SCORES]
        rows.append(f"| `{level}` | {_score(decoded.levels[level]['accuracy'], None)} | {' | '.join(cells)} |")
    head = f"| level | accuracy of `{PATH}` | {' | '.join(_SCORES.values())} |"
    table = "\n".join([head, "| --- | --- | --- | --- | --- | --- |", *rows])
    path = _score(decoded.scores["path_accuracy"], decoded.intervals["path_accuracy"])
    return (
        f"## Metrics\n\nMeasured on {facts.assessed:,} validation images, with 95 % intervals:\n\n{table}\n\n"
        f"`{PATH}` answers by the likeliest path through the tree; by itself, a level is answered by its likeliest "
        f"class, which may lie on another path. All levels are right for a share of {path}. {notes}".rstrip()
    )


_SCORES = {
    "accuracy": "accuracy of the level by itself",
    "macro_f1": "macro-F1 by itself",
    "auroc": "AUROC",
    "ece": "calibration error (ECE)",
}


def _score(value: float, interval: Interval | None) -> str:
    if not math.isfinite(value):
        return UNDEFINED
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})" if interval else f"{value:.3f}"


def _comparison(facts: Facts) -> str:
    return f"## Comparison with the run\n\n{' '.join([*facts.compared, *facts.cost])}"


def _limits(export: Export, taxonomy: Taxonomy, facts: Facts) -> str:
    level = taxonomy.levels[-1]
    counts = zip(taxonomy.classes[level], export.train_counts[level], strict=True)
    rare = [name for name, count in counts if count < FEW_IMAGES]
    limits = [
        "It knows only the classes above: any other product gets one of them, often with a high probability.",
        "The metrics hold for photos like the validation images. Other photographers, backgrounds, seasons or markets "
        "lower them, and the probabilities are then too high.",
        "Where a label of the training data is wrong, the model may have learned the error.",
    ]
    if rare:
        named = _listed([f"{_cell(name)}" for name in rare[:_MOST_NAMED]])
        others = f" and {len(rare) - _MOST_NAMED:,} others" if len(rare) > _MOST_NAMED else ""
        limits.append(
            f"These classes have fewer than {FEW_IMAGES} training images and are hardly known: {named}{others}."
        )
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _files(export: Export) -> str:
    return (
        f"## Files\n\n`{MODELS[export.format]}` is the model, `{TAXONOMY}` its tree of classes, `{CONFIG}` how it was "
        f"trained, without the places of its data, and `{INDEX}` has the SHA-256 digests of all files, by "
        f"which fashion_jax checks all but this `{CARD}`. fashion_jax {export.fashion_jax} wrote them."
    )


def _cell(name: str) -> str:
    """Returns the name of a class as text that is neither markup nor the end of a table's cell."""
    return _escaped(" / ".join(class_labels(name)))


def _escaped(text: str) -> str:
    """Returns text without markup."""
    escaped = html.escape(text, quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]|~#" else c if c.isprintable() else " " for c in escaped)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
