"""Computes the scores that evaluate adds to metrics.py's: for a level, over the tree, by rarity, and over epochs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fashion_jax.scoring.blocks import row_blocks
from fashion_jax.scoring.calibration import adaptive_calibration_error, calibration_error
from fashion_jax.scoring.metrics import exact_scores, known_images, outcome_counts
from fashion_jax.scoring.tree_decoding import common_heights, contradiction_rate, down_to_leaves, leaf_paths
from fashion_jax.taxonomy import UNKNOWN, Taxonomy

LEVEL_SCORES = (
    "loss",
    "accuracy",
    "top5",
    "macro_f1",
    "weighted_f1",
    "auroc",
    "average_precision",
    "balanced_accuracy",
    "brier",
    "ece",
    "adaptive_ece",
)
TREE_SCORES = ("path_accuracy", "hierarchical_f1", "mistake_severity", "consistency")
_TOP = 5
SHOTS = ("head", "middle", "tail")


def level_scores(log_probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Computes the LEVEL_SCORES of one level in float64; NaN for what is undefined.

    Loss, accuracy, macro-F1 and AUROC are those of `evaluate_level`. The others are scikit-learn's:
    top5 is top_k_accuracy_score, weighted_f1 is f1_score, average_precision is the mean of one-versus-rest
    average_precision_score over the classes with images, balanced_accuracy is balanced_accuracy_score, brier is
    brier_score_loss (0 to 2). ece and adaptive_ece are `calibration_error` and `adaptive_calibration_error`.

    Args:
        log_probs: [images, C].
        labels: int [images]; images whose label is UNKNOWN (-1) are left out.
    """
    images, known = known_images(labels)
    if not len(images):
        return dict.fromkeys(LEVEL_SCORES, math.nan)
    hits, support, predicted = outcome_counts(known, log_probs.argmax(1)[images], log_probs.shape[1])
    f1 = 2 * hits / np.maximum(support + predicted, 1)
    in_top5, squares = _by_image(log_probs, images, known)
    scores = exact_scores(log_probs, labels) | {
        "top5": float(in_top5.mean()),
        "weighted_f1": float((f1 * support).sum() / len(images)),
        "balanced_accuracy": float(np.mean(hits[support > 0] / support[support > 0])),
        "brier": float(squares.mean()),
        "ece": calibration_error(log_probs, labels),
        "adaptive_ece": adaptive_calibration_error(log_probs, labels),
    }
    return {name: scores[name] for name in LEVEL_SCORES}


def _by_image(log_probs: np.ndarray, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each image whether its label is among the five likeliest classes, and its squared error (0 to 2).

    Among equally likely classes the later ones come first, as scikit-learn counts them.
    """
    in_top5, squares = np.empty(len(images), bool), np.empty(len(images))
    for places in row_blocks(len(images), log_probs.shape[1]):
        block, own = log_probs[images[places]], labels[places][:, None]
        of_own = np.take_along_axis(block, own, axis=1)
        later = np.arange(block.shape[1]) > own
        ahead = (block > of_own) | (block == of_own) & later
        in_top5[places] = ahead.sum(1) < _TOP
        errors = np.exp(block.astype(np.float64))
        errors[np.arange(len(places)), own[:, 0]] -= 1
        squares[places] = np.square(errors).sum(1)
    return in_top5, squares


def predicted_scores(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> dict[str, float]:
    """Computes accuracy and macro-F1, as `evaluate_level`, of classes [images]; UNKNOWN (-1) counts as wrong."""
    known = labels != UNKNOWN
    labels, predicted = labels[known], predicted[known]
    if not len(labels):
        return {"accuracy": math.nan, "macro_f1": math.nan}
    answered = predicted != UNKNOWN
    hits = np.bincount(labels[predicted == labels], minlength=num_classes)
    sizes = np.bincount(labels, minlength=num_classes) + np.bincount(predicted[answered], minlength=num_classes)
    macro_f1 = np.mean(2 * hits[sizes > 0] / sizes[sizes > 0])
    return {"accuracy": float(hits.sum() / len(labels)), "macro_f1": float(macro_f1)}


def paths_known(labels: Mapping[str, np.ndarray], taxonomy: Taxonomy) -> np.ndarray:
    """Returns bool [images]: whether the labels are known down to a leaf of the tree, as `tree_scores` needs them."""
    path = np.stack([labels[level] for level in taxonomy.levels], axis=1)
    leaves = set(map(tuple, leaf_paths(taxonomy).tolist()))
    return np.array([tuple(row) in leaves for row in path.tolist()], bool)


def tree_scores(
    predicted: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], taxonomy: Taxonomy
) -> dict[str, float]:
    """Computes TREE_SCORES: consistency over all images, the others over those whose labels are known down to a leaf.

    A score without such images is NaN.

    Args:
        predicted: level -> int [images], UNKNOWN (-1) where there is none.
        labels: level -> int [images].
        taxonomy: the classes of both.

    Returns:
        path_accuracy: the share of images with every level right.
        hierarchical_f1: F1 between the sets of predicted and true classes with all their ancestors, summed over images
            (Kiritchenko et al. 2006; Silla and Freitas 2011).
        mistake_severity: the mean height of the lowest common ancestor of the true leaf and the finest class
            predicted, over the images where they differ (Bertinetto et al. 2020).
        consistency: the share of images without a contradiction.
    """
    known = paths_known(labels, taxonomy)
    levels = taxonomy.levels
    consistency = 1 - contradiction_rate(predicted, taxonomy)
    predicted = down_to_leaves({level: predicted[level][known] for level in levels}, taxonomy)
    if not known.any():
        return dict.fromkeys(TREE_SCORES, math.nan) | {"consistency": consistency}
    true = np.stack([labels[level][known] for level in levels], axis=1)
    guess = np.stack([predicted[level] for level in levels], axis=1)
    path = _finest_path(guess, taxonomy)
    wrong = (path != true).any(1)
    return {
        "path_accuracy": float((guess == true).all(1).mean()),
        "hierarchical_f1": _hierarchical_f1(predicted, true, taxonomy),
        "mistake_severity": float(common_heights(path, true)[wrong].mean()) if wrong.any() else math.nan,
        "consistency": consistency,
    }


def _finest_path(guess: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """Returns the path to the finest class of each row of guess, [images, levels]; UNKNOWN (-1) below it."""
    path = np.full_like(guess, UNKNOWN)
    for depth, level in enumerate(taxonomy.levels):
        here = guess[:, depth] != UNKNOWN
        for i, above in enumerate(taxonomy.levels[: depth + 1]):
            path[here, i] = taxonomy.ancestors(above, level)[guess[here, depth]]
    return path


def _hierarchical_f1(predicted: Mapping[str, np.ndarray], true: np.ndarray, taxonomy: Taxonomy) -> float:
    common = size = 0
    for i, level in enumerate(taxonomy.levels):
        claimed: list[np.ndarray] = []  # the distinct classes that each image's predictions imply here
        for finer in taxonomy.levels[i:]:
            classes = predicted[finer]
            implied = np.where(classes == UNKNOWN, UNKNOWN, taxonomy.ancestors(level, finer)[classes])
            for other in claimed:
                implied = np.where(implied == other, UNKNOWN, implied)
            claimed.append(implied)
        here = np.stack(claimed)
        size += (here != UNKNOWN).sum()
        common += ((here == true[:, i]) & (here != UNKNOWN)).sum()
    return float(2 * common / (size + (true != UNKNOWN).sum()))


def shot_scores(
    predicted: np.ndarray, labels: np.ndarray, train_counts: np.ndarray, thresholds: tuple[int, int] = (1000, 100)
) -> dict[str, float | None]:
    """Computes the accuracy over images of classes with many, some and few training images; None without such images.

    Args:
        predicted: int [images].
        labels: int [images]; images whose label is UNKNOWN (-1) are left out.
        train_counts: int [classes].
        thresholds: head classes have more training images than the first, tail classes fewer than the second.
    """
    known = labels != UNKNOWN
    counts, correct = np.asarray(train_counts)[labels[known]], predicted[known] == labels[known]
    many, few = thresholds
    groups = (counts > many, (counts <= many) & (counts >= few), counts < few)
    return {
        name: float(correct[group].mean()) if group.any() else None for name, group in zip(SHOTS, groups, strict=True)
    }


def variability(
    lines: Sequence[Mapping[str, Any]], level: str, *, small_epochs: int, is_comparable: bool
) -> dict[str, float]:
    """Measures how much a level fluctuates and over-fits over the last half of the epochs (rounded up).

    Args:
        lines: of metrics.jsonl.
        level: the level to measure.
        small_epochs: the first epochs, which are left out since their images were smaller than those of validation.
        is_comparable: whether the level's scores in training can be compared with those in validation.

    Returns:
        std/METRIC: the standard deviation of the validation split's values over those epochs (as numpy's std), and
        gap/METRIC: the mean of training's value minus validation's; for loss, accuracy and macro_f1. NaN if no epoch
        has a value, and gap/METRIC also if they cannot be compared.
    """
    whole = lines[small_epochs:]
    last = whole[len(whole) // 2 :]
    found = {}
    for metric in ("loss", "accuracy", "macro_f1"):
        values = [(line.get(f"train/{level}/{metric}"), line.get(f"validation/{level}/{metric}")) for line in last]
        pairs = [(t, v) for t, v in values if t is not None and v is not None]
        found[f"std/{metric}"] = float(np.std([v for _, v in pairs])) if pairs else math.nan
        found[f"gap/{metric}"] = statistics.fmean(t - v for t, v in pairs) if pairs and is_comparable else math.nan
    return found
