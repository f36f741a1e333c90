"""Describes the page's verdict: how good the model is in plain words, its weakest classes, and what would help."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fashion_jax.command_line.formats import UNDEFINED
from fashion_jax.data.dataset import ALL
from fashion_jax.report import advice
from fashion_jax.report.advice import Advice, Errors
from fashion_jax.report.contents import ClassName, PageContents, class_names
from fashion_jax.report.examples import Example, Examples
from fashion_jax.report.rendering import percent, text
from fashion_jax.report.sections.calibration import answered_at
from fashion_jax.scoring.calibration import coverage_curve

_FEW_IMAGES = 30  # measured images of a level, below which its accuracy is no verdict
_GRADES = ((0.97, "very good"), (0.9, "good"), (0.75, "fair"), (0.0, "weak"))  # least accuracy of each
_WEAKEST = 3  # classes shown
_IMAGES = 4  # per class
_TOO_FEW_NAMED = 5  # classes without enough images that are named
_WELL_LEARNED = 0.85  # accuracy on training images, below which longer training comes first
_GAP = 0.1  # training minus validation accuracy, from which on the model knows its training images too well
_TARGET = 0.95  # accuracy of the answers for which the needed confidence is named
_USEFUL = 0.1  # share of the images, below which the answers of such confidence save no work


def grades(contents: PageContents) -> list[dict[str, Any]]:
    """Says for each level in plain words how good the model is."""
    return [_grade_of_level(contents, level) for level in contents.taxonomy.levels]


def _grade_of_level(contents: PageContents, level: str) -> dict[str, str]:
    assessed, counts = contents.assessment.levels[level], contents.counts(level)
    accuracy, images = assessed.scores["accuracy"], int(counts.sum())
    frequent = int(contents.train_counts(level).argmax())
    baseline = float(counts[frequent] / images) if images else math.nan
    name = class_names(contents.taxonomy, level)[frequent].short
    low = assessed.intervals.get("accuracy", (accuracy, accuracy))[0]
    return grade(accuracy, images, len(counts), (baseline, name), low)


def grade(accuracy: float, images: int, classes: int, baseline: tuple[float, str], low: float) -> dict[str, str]:
    """Returns the grade of a level in a word, how many images are right, and a remark.

    Args:
        accuracy: of the level.
        images: measured images with a known label.
        classes: number of classes.
        baseline: accuracy of always answering the most frequent class, and the name of that class.
        low: lower bound of the accuracy's confidence interval.
    """
    if not images:
        return {"grade": UNDEFINED, "right": "no image with a known label", "remark": "so nothing can be said"}
    right = f"{_of_100(accuracy)} of 100 images right"
    if classes == 1:
        return {"grade": UNDEFINED, "right": right, "remark": "there is only one class"}
    if images < _FEW_IMAGES:
        return {"grade": "not certain", "right": right, "remark": f"measured on only {images} images"}
    always = f"always answering “{text(baseline[1], 40)}” would be right for {_of_100(baseline[0])} of 100"
    if low <= baseline[0]:
        return {"grade": "no use yet", "right": right, "remark": f"not clearly better than guessing: {always}"}
    word = next(word for least, word in _GRADES if accuracy >= least)
    return {"grade": word, "right": right, "remark": always}


def _of_100(share: float) -> str:
    """Returns a share as a number of 100 images; only all and none are called 100 and 0."""
    if 0.99 < share < 1:
        return "more than 99"
    if 0 < share < 0.01:
        return "fewer than 1"
    return f"{100 * share:.0f}"


def verdict(contents: PageContents) -> dict[str, Any]:
    """Describes the weakest classes of the finest level with known labels, and what to do next."""
    known = [level for level in contents.taxonomy.levels if contents.counts(level).any()]
    if not known:
        return {"level": None, "weakest": [], "too_few": [], "steps": []}
    level = known[-1]
    examples, scores = Examples(contents, level), contents.class_scores[level]
    support = np.array([row["support"] for row in scores])
    f1 = np.array([row["f1"] for row in scores])
    judged = np.flatnonzero((support >= advice.MIN_SUPPORT) & (f1 < 1))
    weakest = judged[np.lexsort([-support[judged], f1[judged]])][:_WEAKEST].tolist()
    too_few = np.flatnonzero((support < advice.MIN_SUPPORT) & (contents.train_counts(level) > 0))
    too_few = too_few[np.argsort(-contents.train_counts(level)[too_few], kind="stable")].tolist()
    suspected = _suspected(examples)
    return {
        "level": level,
        "split": contents.split_name,
        "classes": len(scores),
        "judged": int((support >= advice.MIN_SUPPORT).sum()),
        "least": advice.MIN_SUPPORT,
        "weakest": [_weak_class(contents, examples, k, suspected) for k in weakest],
        "too_few": [(examples.names[k], int(support[k])) for k in too_few[:_TOO_FEW_NAMED]],
        "others": max(len(too_few) - _TOO_FEW_NAMED, 0),
        "suspects": int(suspected.sum()),
        "training": _training(contents, level),
        "target": _TARGET,
        "answered": _answered(examples),
    }


def _answered(examples: Examples) -> dict[str, float | None] | str:
    """Returns the images that can be answered at the accuracy _TARGET: "all", their share, or "" if too few can."""
    found = answered_at(coverage_curve(examples.log_probs, examples.labels), _TARGET)
    coverage = found["coverage"] or 0
    return "all" if coverage == 1 else found if coverage >= _USEFUL else ""


def _suspected(examples: Examples) -> np.ndarray:
    """Returns bool [images]: whether an image's label is suspected to be wrong."""
    suspected, errors = np.zeros(len(examples.labels), bool), examples.contents.label_errors.get(examples.level)
    if errors is not None:
        suspected[errors.images[errors.suspected]] = True
    return suspected


def _weak_class(contents: PageContents, examples: Examples, k: int, suspected: np.ndarray) -> dict[str, Any]:
    level = examples.level
    errors, trained = advice.errors_of(contents.confusion_counts[level], k), contents.train_counts(level)
    parents = contents.taxonomy.parents[level] or (0,) * len(examples.names)
    of_class = suspected & ((examples.labels == k) | (examples.predicted == k))
    found = advice.advise(k, errors, trained.tolist(), parents, int(of_class.sum()))
    return {
        "name": examples.names[k],
        "found": errors.support - errors.missed,
        "support": errors.support,
        "called": errors.called,
        "answers": errors.support - errors.missed + errors.called,
        "f1": contents.class_scores[level][k]["f1"],
        "advice": [sentence(x, k, errors, examples.names, trained.tolist(), int(of_class.sum())) for x in found],
        "examples": _images(examples, k),
    }


def _images(examples: Examples, k: int) -> list[Example]:
    """Shows images of the class that are predicted wrongly, and if there are few, images wrongly predicted as it."""
    rows = examples.wrong_rows
    missed, called = rows[examples.labels[rows] == k], rows[examples.predicted[rows] == k]
    return [examples.answer(row) for row in [*missed.tolist(), *called.tolist()][:_IMAGES]]


def sentence(
    found: Advice, k: int, errors: Errors, names: list[ClassName], trained: list[int], suspects: int
) -> tuple[str, str]:
    """Returns what to do about class k, and the reason."""
    name = "" if found.other is None else f"“{text(names[found.other].short, 60)}”"
    if found.kind == advice.LABELS:
        return "Check its labels", f"{suspects} of its {errors.total} errors are suspected wrong labels."
    if found.kind == advice.JOIN:
        return (
            f"Join it with {name}, or decide what tells them apart",
            f"{errors.to_rival} of its {errors.support} images are taken for {name}, and {errors.from_rival} of "
            f"{errors.rival_support} images the other way round.",
        )
    if found.kind == advice.IMAGES:
        return _more_images(found, k, names, trained)
    images = f"it has {_images_word(trained[k])}, and it is confused with {_classes_word(errors.spread)}"
    if errors.rival is None or 2 * (errors.to_rival + errors.from_rival) < errors.total:
        return "Look at its images", f"No single cause shows in the counts: {images}."
    rival = f"“{text(names[errors.rival].short, 60)}”"
    return (
        f"Compare its images with those of {rival}",
        f"No single cause shows in the counts: {images}, mostly {rival}.",
    )


def _more_images(found: Advice, k: int, names: list[ClassName], trained: list[int]) -> tuple[str, str]:
    assert found.other is not None
    images, average = trained[found.other], sum(trained) / len(trained)
    has = f"has {_images_word(images)}"
    if found.against is not None:
        has += f", and “{text(names[found.against].short, 60)}” has {trained[found.against]:,}"
    elif images < average:
        has += f"; a class has {average:,.0f} on average"
    if found.other == k:
        taken = ", for which it is most often taken" if found.against is not None else ""
        return "Add training images", f"It {has}{taken}."
    name = f"“{text(names[found.other].short, 60)}”"
    return f"Add training images of {name}", f"Its images are often taken for this class; it {has}."


def _images_word(images: int) -> str:
    return "no training image" if not images else "1 training image" if images == 1 else f"{images:,} training images"


def _classes_word(classes: int) -> str:
    return "1 class" if classes == 1 else f"{classes:,} classes"


def _training(contents: PageContents, level: str) -> tuple[str, str] | None:
    """Returns what to do about the training as a whole, and the reason; None if nothing stands out."""
    is_small = (
        contents.line.get("epoch", 0) <= contents.config.progressive.epochs
    )  # of images smaller than validation's
    if is_small or level not in contents.comparable_levels:
        return None
    train, measured = contents.line.get(f"train/{level}/accuracy"), contents.assessment.levels[level].scores["accuracy"]
    if train is None or not math.isfinite(train) or contents.split_name in ("train", ALL):
        return None
    if train - measured >= _GAP:
        return (
            "More images, or stronger augmentation",
            f"The model is right for {percent(train, 0)} of its training images, but for {percent(measured, 0)} of "
            "images that it has not seen: it knows them by heart.",
        )
    if max(train, measured) < _WELL_LEARNED:  # augmented images, of which training accuracy is, may be harder
        return (
            "Train longer, or with larger images, before you change classes",
            f"The model is wrong for many of its own training images, too: it is right for {percent(train, 0)} of "
            "them.",
        )
    return None
