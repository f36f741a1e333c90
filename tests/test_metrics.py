"""The metrics agree with scikit-learn, and the accumulators with the exact metrics."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

from fashion_jax.scoring import blocks, metrics
from fashion_jax.step import metrics as training_metrics


def _data(seed: int, num_images: int = 300, num_classes: int = 7, scale: float = 2.0):
    """Returns float64 log-probabilities correlated with the labels; class 2 never occurs, some labels are unknown."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, num_classes, num_images)
    labels[labels == 2] = 0
    logits = rng.normal(size=(num_images, num_classes))
    logits[np.arange(num_images), labels] += 1
    logits[:, 2] -= 10
    logits *= scale
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return log_probs, labels.astype(np.int32)


def _accumulated(log_probs: np.ndarray, labels: np.ndarray, batch_size: int) -> dict[str, np.ndarray]:
    accumulators = training_metrics.init_accumulators({"sub": log_probs.shape[1]})["sub"]
    step = jax.jit(training_metrics.accumulate)
    for start in range(0, len(labels), batch_size):
        batch = slice(start, start + batch_size)
        losses = -np.take_along_axis(log_probs[batch], labels[batch, None], axis=1)[:, 0]
        losses[labels[batch] < 0] = np.nan
        accumulators = step(
            accumulators,
            losses=jnp.asarray(losses, jnp.float32),
            log_probs=jnp.asarray(log_probs[batch], jnp.float32),
            labels=jnp.asarray(labels[batch]),
        )
    return jax.device_get(accumulators)


def _one_vs_rest(log_probs: np.ndarray, labels: np.ndarray) -> dict[int, float]:
    classes = [k for k in np.unique(labels) if (labels != k).any()]
    return {k: sklearn.metrics.roc_auc_score(labels == k, log_probs[:, k]) for k in classes}


@pytest.mark.parametrize("seed", range(3))
def test_evaluate_level_is_scikit_learns(seed):
    log_probs, labels = _data(seed)
    got = metrics.evaluate_level(log_probs, labels)
    known = labels >= 0
    log_probs, labels = log_probs[known], labels[known]
    predictions = log_probs.argmax(1)
    assert got["loss"] == pytest.approx(sklearn.metrics.log_loss(labels, np.exp(log_probs), labels=range(7)), abs=1e-6)
    assert got["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(labels, predictions), abs=1e-12)
    assert got["macro_f1"] == pytest.approx(sklearn.metrics.f1_score(labels, predictions, average="macro"), abs=1e-12)
    expected = np.mean(list(_one_vs_rest(log_probs, labels).values()))
    assert got["auroc"] == pytest.approx(expected, abs=1e-12)


def test_per_class_is_scikit_learns_and_averages_to_the_macro_values():
    log_probs, labels = _data(4)
    rows = metrics.per_class(log_probs, labels)
    overall = metrics.evaluate_level(log_probs, labels)
    known = labels >= 0
    log_probs, labels = log_probs[known], labels[known]
    report = sklearn.metrics.classification_report(
        labels, log_probs.argmax(1), labels=range(7), output_dict=True, zero_division=0
    )
    auroc = _one_vs_rest(log_probs, labels)
    for k, row in enumerate(rows):
        assert row["support"] == report[str(k)]["support"]
        if k != 2:
            values = {"f1": "f1-score", "precision": "precision", "recall": "recall"}
            assert [row[name] for name in values] == pytest.approx([report[str(k)][v] for v in values.values()])
            assert row["auroc"] == pytest.approx(auroc[k], abs=1e-12)
    assert np.isnan([rows[2][name] for name in ("f1", "precision", "recall", "auroc")]).all()
    assert overall["macro_f1"] == pytest.approx(np.nanmean([row["f1"] for row in rows]), abs=1e-12)
    assert overall["auroc"] == pytest.approx(np.nanmean([row["auroc"] for row in rows]), abs=1e-12)


def test_predicted_but_absent_class_counts_as_zero():
    log_probs = np.log([[0.6, 0.4, 0], [0.7, 0.3, 0]], where=[[1, 1, 0]] * 2, out=np.full((2, 3), -np.inf))
    got = metrics.evaluate_level(log_probs, np.array([0, 1]))
    assert got["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)
    rows = metrics.per_class(log_probs, np.array([1, 1]))
    assert [row["f1"] for row in rows[:2]] == [0, 0]
    assert np.isnan(rows[2]["f1"])


def test_confusion_matrix_is_scikit_learns():
    log_probs, labels = _data(5)
    predictions = log_probs.argmax(1)
    expected = sklearn.metrics.confusion_matrix(labels, predictions, labels=range(7))
    np.testing.assert_array_equal(metrics.confusion_matrix(labels, predictions, 7).toarray(), expected)


@pytest.mark.parametrize("num_classes", [1, 3])
def test_a_single_true_class_has_no_auroc(num_classes):
    log_probs = np.full((4, num_classes), -np.log(num_classes))
    labels = np.zeros(4, np.int32)
    got = metrics.evaluate_level(log_probs, labels)
    assert got["loss"] == pytest.approx(np.log(num_classes))
    assert (got["accuracy"], got["macro_f1"]) == (1, 1)
    assert np.isnan(got["auroc"])
    summary = training_metrics.summarize(_accumulated(log_probs, labels, 2))
    assert (summary["accuracy"], summary["macro_f1"]) == (1, 1)
    assert np.isnan([summary["auroc"], summary["auroc_tied_mass"]]).all()


def test_accumulators_do_not_depend_on_the_batches():
    log_probs, labels = _data(6, num_images=240)
    whole = _accumulated(log_probs, labels, 240)
    parts = _accumulated(log_probs, labels, 40)
    for name in ("count", "confusion", "histogram"):
        np.testing.assert_array_equal(whole[name], parts[name])
    assert whole["loss_sum"] == pytest.approx(parts["loss_sum"], rel=1e-5)
    assert whole["count"] == (labels >= 0).sum()
    np.testing.assert_array_equal(whole["histogram"].sum((1, 2)), whole["count"])
    np.testing.assert_array_equal(whole["histogram"][..., 1].sum(1), whole["confusion"].sum(1))


@pytest.mark.parametrize(
    ("scale", "tied_mass"), [(0.01, 0.5), (2, 0.01), (30, 0.2)], ids=["flat", "ordinary", "saturated"]
)
def test_summary_agrees_with_the_exact_metrics(scale, tied_mass):
    log_probs, labels = _data(7, scale=scale)
    exact = metrics.evaluate_level(log_probs, labels)
    summary = training_metrics.summarize(_accumulated(log_probs, labels, 60))
    for name in ("loss", "accuracy", "macro_f1"):
        assert summary[name] == pytest.approx(exact[name], rel=1e-5)
    assert abs(summary["auroc"] - exact["auroc"]) <= summary["auroc_tied_mass"] + 1e-9
    assert 0 < summary["auroc_tied_mass"] < tied_mass


def test_auroc_tells_scores_apart_that_are_all_almost_one():
    complement = np.array([1e-3, 1e-4, 1e-5, 1e-6])
    log_probs = np.stack([np.log1p(-complement), np.log(complement)], axis=1)
    summary = training_metrics.summarize(_accumulated(log_probs, np.array([1, 0, 0, 0], np.int32), 4))
    assert summary["auroc"] == 1
    assert summary["auroc_tied_mass"] == 0


def test_scores_that_are_all_equal_are_all_tied():
    summary = training_metrics.summarize(_accumulated(np.full((6, 2), np.log(0.5)), np.array([0, 1] * 3, np.int32), 6))
    assert summary["auroc"] == summary["auroc_tied_mass"] == 0.5


def test_certain_predictions_stay_finite():
    log_probs = np.where(np.eye(3, dtype=bool), 0.0, -np.inf)
    summary = training_metrics.summarize(_accumulated(log_probs, np.arange(3, dtype=np.int32), 3))
    exact = metrics.evaluate_level(log_probs, np.arange(3))
    assert summary == {"loss": 0, "accuracy": 1, "macro_f1": 1, "auroc": 1, "auroc_tied_mass": 0}
    assert exact == {"loss": 0, "accuracy": 1, "macro_f1": 1, "auroc": 1}


def test_nothing_counted_is_nan():
    log_probs, labels = _data(8, num_images=12)
    labels[:] = -1
    accumulators = _accumulated(log_probs, labels, 6)
    assert not any(np.any(value) for value in accumulators.values())
    assert np.isnan(list(training_metrics.summarize(accumulators).values())).all()
    assert np.isnan(list(metrics.evaluate_level(log_probs, labels).values())).all()
    assert np.isnan(list(metrics.evaluate_level(log_probs[:0], labels[:0]).values())).all()
    assert [row["support"] for row in metrics.per_class(log_probs, labels)] == [0] * 7


def test_accumulators_follow_the_dtype():
    assert training_metrics.init_accumulators({"main": 2}, jnp.bfloat16)["main"]["loss_sum"].dtype == jnp.float32
    with jax.enable_x64(True):
        accumulators = training_metrics.init_accumulators({"main": 2}, jnp.float64)["main"]
        log_probs = jnp.log(jnp.array([[0.25, 0.75]], jnp.float64))
        add = jax.jit(training_metrics.accumulate)
        added = add(accumulators, losses=-log_probs[:, 0], log_probs=log_probs, labels=jnp.array([0]))
    assert {name: value.dtype for name, value in added.items()} == {n: v.dtype for n, v in accumulators.items()}
    assert added["loss_sum"].dtype == jnp.float64


def test_a_level_without_weight_adds_nothing_to_the_loss_even_if_it_has_none():
    levels = {"main": {"loss": float("nan")}, "sub": {"loss": 0.5}}
    assert metrics.named_metrics(levels, {"main": 0.0, "sub": 2.0})["loss"] == 1.0


def test_classes_are_ranked_several_at_once_with_the_same_bits(monkeypatch):
    """With many images and classes they take most of the time between two epochs."""
    log_probs, labels = _data(9, num_images=20_000, num_classes=9)
    images, known = metrics.known_images(labels)
    expected = [
        metrics._ranking_scores(log_probs[images, k], known == k) if k != 2 else (np.nan,) * 2 for k in range(9)
    ]
    together, rank = threading.Barrier(2), metrics._ranking_scores

    def ranked(*arguments):
        together.wait(timeout=60)  # for another thread, which would never come if the classes took turns
        return rank(*arguments)

    monkeypatch.setattr(blocks, "usable_processors", lambda: 2)
    monkeypatch.setattr(metrics, "_ranking_scores", ranked)
    found = metrics.one_versus_rest(log_probs, images, known)
    np.testing.assert_array_equal(np.stack(found, axis=1), expected)


@pytest.mark.parametrize(
    ("num_classes", "num_images", "sizes"),
    [(7, 1_000, [7]), (45, 10_000, [6] * 7 + [3]), (1_000, 200_000, [16] * 62 + [8]), (7, 10**6, [1] * 7), (0, 0, [0])],
)
def test_the_scores_of_several_classes_are_copied_together(num_classes, num_images, sizes):
    """One column at a time would read the whole table once for each class."""
    assert [len(block) for block in metrics._class_blocks(np.arange(num_classes), num_images)] == sizes
