"""Wrong labels are ranked first."""

import numpy as np
import pytest

from fashion_jax.scoring.label_errors import rank_label_errors


def noisy(images: int = 4000, classes: int = 10, noise: float = 0.05, seed: int = 0):
    """Probabilities of a fair model that does not know the labels, labels with uniform noise, and where it is."""
    generator = np.random.default_rng(seed)
    true = generator.choice(classes, images, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    logits = generator.normal(size=(images, classes)) + 4 * (true[:, None] == np.arange(classes))
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


def test_a_hand_worked_ranking():
    probs = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7], [0.5, 0.5]])
    labels = np.array([0, 0, 0, 1, 1, -1])
    ranked = rank_label_errors(probs, labels)  # thresholds 0.6 and 0.8
    assert ranked.images.tolist() == [2, 1, 4, 0, 3]
    assert ranked.suspected.tolist() == [True, False, False, False, False]
    assert ranked.suggested.tolist() == [1, 1, 0, 1, 0]
    assert ranked.self_confidence.tolist() == [0.2, 0.7, 0.7, 0.9, 0.9]
    assert np.allclose(ranked.margin, [-0.6, 0.4, 0.4, 0.8, 0.8])


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
    assert ranked.suspected[first] and ranked.suggested[first] == 2 and ranked.margin[first] == pytest.approx(-0.1)
