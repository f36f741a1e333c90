"""Wrong labels are ranked first."""

from functools import partial

import numpy as np
import pytest

from fashion_jax.scoring.blocks import row_blocks
from fashion_jax.scoring.label_errors import COLUMNS, label_error_rows, rank_label_errors, rank_levels, verdict
from fashion_jax.taxonomy import Taxonomy


def noisy(images: int = 4000, classes: int = 10, noise: float = 0.05, seed: int = 0, strength: float = 4):
    """Returns probabilities of a model that does not know the labels, labels with uniform noise, and where it is."""
    generator = np.random.default_rng(seed)
    true = generator.choice(classes, images, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    logits = generator.normal(size=(images, classes)) + strength * (true[:, None] == np.arange(classes))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wrong = generator.random(images) < noise
    labels = np.where(wrong, (true + generator.integers(1, classes, images)) % classes, true)
    return probs, labels, wrong


def test_the_precision_at_the_number_of_errors():
    probs, labels, wrong = noisy()
    assert np.mean(probs.argmax(1)[~wrong] == labels[~wrong]) < 0.995  # the model is not perfect
    ranked = rank_label_errors(probs, labels)
    assert sorted(ranked.images) == list(range(len(labels)))
    assert wrong[ranked.images[: wrong.sum()]].mean() >= 0.8
    assert wrong[ranked.images[ranked.suspected]].mean() >= 0.8
    assert 0.5 * wrong.sum() < ranked.suspected.sum() < 1.2 * wrong.sum()


@pytest.mark.parametrize("noise", [0.05, 0.2])
@pytest.mark.parametrize("images", [200, 4000])
def test_suspicions_of_a_good_model_are_kept_with_an_estimate_of_their_precision(noise, images):
    probs, labels, wrong = noisy(images, noise=noise)
    ranked = rank_label_errors(probs, labels)
    count = ranked.suspected.sum()
    assert 0 < count <= ranked.counted and wrong[ranked.images[ranked.suspected]].mean() > 0.9
    assert 0.6 < ranked.precision < 1
    assert f"{count} of {images:,} labels" in verdict(ranked) and f"{100 * ranked.precision:.0f} %" in verdict(ranked)


def test_no_more_labels_are_suspected_than_there_seem_to_be_wrong_ones():
    probs, labels, wrong = noisy(noise=0.05, strength=2.5)  # right for 81 % of the images, were the labels right
    ranked = rank_label_errors(probs, labels)
    found = wrong[ranked.images[ranked.suspected]].mean()
    every = noisy(noise=0, strength=2.5)
    assert 0 < ranked.suspected.sum() <= ranked.counted and abs(ranked.precision - found) < 0.2
    assert not rank_label_errors(*every[:2]).suspected.any()


@pytest.mark.parametrize("images", [200, 4000])
@pytest.mark.parametrize("strength", [1.0, 1.7])  # right for 30 and 54 % of the images
@pytest.mark.parametrize("noise", [0, 0.05])
def test_a_model_that_errs_often_accuses_no_label(images, strength, noise):
    probs, labels, _ = noisy(images, noise=noise, strength=strength)
    ranked = rank_label_errors(probs, labels)
    assert ranked.counted > 0.1 * images and not ranked.suspected.any() and ranked.precision < 0.4
    assert "no label is suspected" in verdict(ranked) and f"{ranked.counted:,} of {images:,}" in verdict(ranked)
    assert np.array_equal(np.sort(ranked.images), np.arange(images)), "all are ranked nevertheless"


def test_a_model_that_errs_on_clean_labels_accuses_none():
    probs, labels, _ = noisy(noise=0, strength=3)
    assert np.mean(probs.argmax(1) == labels) > 0.8
    ranked = rank_label_errors(probs, labels)
    assert ranked.counted > 10 and not ranked.suspected.any() and ranked.precision < 0.4


def test_of_no_labels_nothing_is_said():
    ranked = rank_label_errors(np.eye(4)[:, :2] + 0.1, np.array([0, 1, -1, -1]))
    assert ranked.counted == 0 and verdict(ranked) == "no label is suspected."


def test_rows_have_no_suspicion_that_is_withheld():
    taxonomy = Taxonomy.from_paths(("main", "sub"), [("m", str(k)) for k in range(10)])
    for strength in (1.0, 4.0):
        probs, labels, _ = noisy(500, strength=strength)
        levels = {"main": np.zeros(500, int), "sub": labels}
        ranked = rank_levels({"main": np.ones((500, 1)), "sub": probs}, levels, taxonomy)
        assert list(ranked) == ["sub"], "where there is one class, there is nothing to suggest"
        rows = list(label_error_rows([str(i) for i in range(500)], ranked, levels, taxonomy))
        assert len(rows) == 500 and [row[COLUMNS.index("rank")] for row in rows] == list(range(1, 501))
        assert sum(row[COLUMNS.index("suspected")] for row in rows) == ranked["sub"].suspected.sum()
        assert ranked["sub"].suspected.any() == (strength == 4.0)


def test_a_hand_worked_ranking():
    probs = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7], [0.5, 0.5]])
    labels = np.array([0, 0, 0, 1, 1, -1])
    ranked = rank_label_errors(probs, labels)  # thresholds 0.6 and 0.8
    assert ranked.images.tolist() == [2, 1, 4, 0, 3]
    assert ranked.suspected.tolist() == [True, False, False, False, False]
    assert ranked.suggested.tolist() == [1, 1, 0, 1, 0]
    assert ranked.self_confidence.tolist() == [0.2, 0.7, 0.7, 0.9, 0.9]
    assert np.allclose(ranked.margin, [-0.6, 0.4, 0.4, 0.8, 0.8])


def test_labels_are_ranked_in_several_blocks_as_in_one(monkeypatch):
    probs, labels, _ = noisy(500)
    labels[::9] = -1
    whole = rank_label_errors(probs, labels)
    small = partial(row_blocks, numbers=70)  # 7 images of 10 classes
    for module in ("blocks", "label_errors"):
        monkeypatch.setattr(f"fashion_jax.scoring.{module}.row_blocks", small)
    parts = rank_label_errors(probs, labels)
    for field in ("images", "suggested", "self_confidence", "margin", "suspected", "counted", "precision"):
        np.testing.assert_array_equal(getattr(parts, field), getattr(whole, field), field)


def test_a_class_that_no_label_names_takes_nothing():
    ranked = rank_label_errors(np.array([[0.2, 0.1, 0.7], [0.3, 0.6, 0.1]]), np.array([0, 1]))
    assert not ranked.suspected.any()
    assert rank_label_errors(np.ones((2, 3)) / 3, np.array([-1, -1])).images.tolist() == []


def test_a_label_that_is_the_likeliest_class_is_not_suspected_and_the_class_it_is_counted_to_is_suggested():
    probs = np.array([[0.45, 0.25, 0.30], [0.75, 0.25, 0.0], [0.05, 0.9, 0.05], [0.3, 0.45, 0.25], [0.3, 0.5, 0.2]])
    labels = np.array([0, 0, 1, 2, 0])  # thresholds 0.5, 0.9 and 0.25: the first reaches that of 2 alone
    ranked = rank_label_errors(probs, labels)
    of = {int(image): place for place, image in enumerate(ranked.images)}
    assert not ranked.suspected[of[0]]
    probs[0] = [0.3, 0.4, 0.3]
    ranked = rank_label_errors(probs, labels)  # thresholds 0.45, 0.9 and 0.25
    first = ranked.images.tolist().index(0)
    assert ranked.counted == 1 and ranked.suggested[first] == 2 and ranked.margin[first] == pytest.approx(-0.1)
