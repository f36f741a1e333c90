"""Rare classes: weights, adjusted logits and draws agree with numbers worked by hand and with plain numpy."""

import json
import shutil
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest

from configs import default
from fashion_jax.data.batches.draws import draw_chances
from fashion_jax.data.batches.order import epoch_order
from fashion_jax.data.dataset import Split
from fashion_jax.evaluate import main as evaluate
from fashion_jax.step.class_balance import NO_BALANCE, class_weights, create_class_balance
from fashion_jax.step.losses import soft_cross_entropy
from fashion_jax.taxonomy import Taxonomy
from fashion_jax.training.train import train_and_evaluate

TAXONOMY = Taxonomy.from_paths(("main", "sub"), [("a", "x"), ("a", "y"), ("b", "z")])
LOGITS = np.array([[1.0, 2.0, -1.0], [0.5, -0.5, 0.0]])


def config_with(**fields):
    config = default.get_config()
    for name, value in fields.items():
        config.rare_classes[name] = value
    return config


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def make_split(sub):
    sub = np.array(sub, np.int32)
    main = np.where(sub < 0, -1, TAXONOMY.ancestors("main", of="sub")[sub]).astype(np.int32)
    return Split([str(i) for i in range(len(sub))], [""] * len(sub), {"main": main, "sub": sub})


def test_counts_leave_unknown_labels_out():
    counts = make_split([0, 0, 1, -1]).class_counts(TAXONOMY)
    assert {level: n.tolist() for level, n in counts.items()} == {"main": [3, 0], "sub": [2, 1, 0]}


def test_weights_by_hand():
    """Inverse counts 1/2, 1/4, 1/8 are scaled to mean 1; (1 - 0.5) / (1 - 0.5^n) of 1, 2, 3 images is 1, 2/3, 4/7."""
    np.testing.assert_allclose(class_weights(np.array([2, 4, 8]), "inverse", 0.9), np.array([4, 2, 1]) * 3 / 7)
    effective = class_weights(np.array([1, 2, 3]), "effective", 0.5)
    np.testing.assert_allclose(effective, np.array([1, 2 / 3, 4 / 7]) * 3 / (1 + 2 / 3 + 4 / 7))
    np.testing.assert_allclose(class_weights(np.array([5, 500]), "effective", 0.0), [1, 1])
    nearly_inverse = class_weights(np.array([5, 500]), "effective", 0.999999)
    np.testing.assert_allclose(nearly_inverse, class_weights(np.array([5, 500]), "inverse", 0), rtol=1e-3)


def test_a_weighted_loss_is_pytorchs():
    """PyTorch's cross_entropy(logits, [0, 2], weight) is the sum of w_y x loss over the sum of w_y."""
    weights, labels = np.array([0.2, 1.0, 3.0]), [0, 2]
    losses = -log_softmax(LOGITS)[[0, 1], labels]
    expected = (0.2 * losses[0] + 3.0 * losses[1]) / 3.2
    found = soft_cross_entropy(jnp.asarray(LOGITS), jnp.asarray(np.eye(3)[labels] * weights))
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_a_mixed_image_counts_by_its_known_share():
    """The first is 0.3 of class 0 and for the rest unknown, the second 0.6 of 1 and 0.4 of 2."""
    losses = -log_softmax(LOGITS)
    expected = (0.3 * losses[0, 0] + 0.6 * losses[1, 1] + 0.4 * losses[1, 2]) / 1.3
    found = soft_cross_entropy(jnp.asarray(LOGITS), jnp.asarray([[0.3, 0, 0], [0, 0.6, 0.4]]))
    assert float(found) == pytest.approx(expected, rel=1e-6)
    assert float(soft_cross_entropy(jnp.asarray(LOGITS), jnp.zeros((2, 3)))) == 0


COUNTS = {"main": np.array([30, 10]), "sub": np.array([20, 10, 10])}


def test_balanced_softmax_is_the_softmax_weighted_by_counts():
    balance = create_class_balance(config_with(loss={"sub": "balanced_softmax"}), COUNTS)
    shifted = balance.trained({"main": jnp.zeros((1, 2)), "sub": jnp.asarray(LOGITS)})
    weighted = COUNTS["sub"] * np.exp(LOGITS)
    np.testing.assert_allclose(
        np.exp(log_softmax(np.asarray(shifted["sub"]))), weighted / weighted.sum(axis=1, keepdims=True), rtol=1e-5
    )
    assert (shifted["main"] == 0).all()
    again = create_class_balance(config_with(loss={"sub": "logit_adjustment"}, tau=1.0), COUNTS)
    np.testing.assert_allclose(again.trained({"sub": jnp.asarray(LOGITS)})["sub"], shifted["sub"])


def test_logit_adjustment_by_hand():
    """With shares of 1/2, 1/4, 1/4 and tau 2, logits gain 2 log(share) in training, or lose it post hoc."""
    shift = 2 * np.log([0.5, 0.25, 0.25])
    inside = create_class_balance(config_with(loss={"sub": "logit_adjustment"}, tau=2.0), COUNTS)
    np.testing.assert_allclose(inside.trained({"sub": jnp.asarray(LOGITS)})["sub"], LOGITS + shift, rtol=1e-6)
    np.testing.assert_allclose(inside.predicted({"sub": jnp.asarray(LOGITS)})["sub"], LOGITS, rtol=1e-6)
    after = create_class_balance(config_with(post_hoc={"sub": 2.0}), COUNTS)
    np.testing.assert_allclose(after.predicted({"sub": jnp.asarray(LOGITS)})["sub"], LOGITS - shift, rtol=1e-6)
    np.testing.assert_allclose(after.trained({"sub": jnp.asarray(LOGITS)})["sub"], LOGITS, rtol=1e-6)


def test_the_type_of_the_computation_stays():
    balance = create_class_balance(
        config_with(weights={"main": "inverse"}, loss={"sub": "balanced_softmax"}, post_hoc={"main": 1.0}), COUNTS
    )
    half = {"main": jnp.zeros((1, 2), jnp.bfloat16), "sub": jnp.zeros((1, 3), jnp.bfloat16)}
    for changed in (balance.weighted(half), balance.trained(half), balance.predicted(half)):
        assert {x.dtype for x in changed.values()} == {jnp.dtype("bfloat16")}
    assert NO_BALANCE.trained(half) == NO_BALANCE.predicted(half) == NO_BALANCE.weighted(half) == half


SKEWED = [0] * 160 + [1] * 36 + [2] * 4


@pytest.mark.parametrize(
    ("kind", "level", "shares"),
    [
        ("class_balanced", "sub", [1 / 3] * 3),
        ("class_balanced", "main", [160 / 196 / 2, 36 / 196 / 2, 1 / 2]),
        ("square_root", "sub", np.sqrt([160, 36, 4]) / (12.649 + 6 + 2)),
    ],
)
def test_draws_have_the_promised_shares(kind, level, shares):
    split = make_split(SKEWED)
    chances = draw_chances({level: kind}, split)
    assert chances.sum() == pytest.approx(1)
    np.testing.assert_allclose([chances[split.labels["sub"] == k].sum() for k in range(3)], shares, rtol=1e-3)
    drawn = np.concatenate([epoch_order(0, epoch, 200, chances) for epoch in range(50)])
    found = np.bincount(split.labels["sub"][drawn]) / len(drawn)
    np.testing.assert_allclose(found, shares, atol=0.03)  # 6 standard deviations


def test_draws_are_pure_in_seed_and_epoch_and_keep_images_without_a_label():
    chances = draw_chances({"sub": "class_balanced"}, make_split([0, 0, 0, 1, -1]))
    np.testing.assert_allclose(chances, [0.4 / 3] * 3 + [0.4, 0.2])
    orders = {(seed, epoch): epoch_order(seed, epoch, 5, chances).tolist() for seed in (0, 1) for epoch in (0, 1, 2)}
    assert len(set(map(tuple, orders.values()))) > 3
    assert epoch_order(1, 2, 5, chances).tolist() == orders[1, 2]
    assert draw_chances({}, SimpleNamespace(labels={})) is None


RUNS = {
    "weights": {"weights": {"sub": "effective", "main": "inverse"}},
    "loss": {"loss": {"sub": "logit_adjustment", "main": "balanced_softmax"}, "tau": 0.5},
    "draw": {"draw": {"sub": "square_root"}},
}


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(
    "name", ["weights", *(pytest.param(name, marks=pytest.mark.long) for name in ("loss", "draw"))]
)
def test_a_run_trains_by_it(tiny_config, finished_run, tmp_path, name):
    """The reported losses stay plain cross-entropies, so they begin about where those of the plain run do."""
    tiny_config.num_epochs = 1
    for field, value in RUNS[name].items():
        tiny_config.rare_classes[field] = value
    (line,) = train_and_evaluate(tiny_config, tmp_path)
    plain = json.loads((finished_run / "metrics.jsonl").read_text().splitlines()[0])
    assert line["train/sub/loss"] != plain["train/sub/loss"]
    assert line["train/sub/loss"] == pytest.approx(plain["train/sub/loss"], rel=0.3)


def test_post_hoc_and_mirrored_predictions_of_a_finished_run(finished_run, tmp_path, capsys):
    """The adjustment uses the counts in the run's data.json."""
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)

    def metrics(*overrides):
        assert evaluate(["--workdir", str(run), "--json", str(tmp_path / "m.json"), *overrides]) == 0
        return json.loads((tmp_path / "m.json").read_text())[0]

    plain, adjusted = metrics(), metrics("--config.rare_classes.post_hoc.sub=1.0")
    assert adjusted["main/loss"] == plain["main/loss"]
    counts = json.loads((run / "data.json").read_text())["splits"]["train"]["classes"]["sub"]
    rows = pq.read_table(run / "predictions" / "validation.parquet").to_pylist()
    shares = np.array([*counts.values()]) / sum(counts.values())
    logits = np.log([row["sub_probabilities"] for row in rows]) - np.log(shares)
    labels = [[*counts].index(row["sub_true"]) for row in rows]
    expected = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(rows)), labels]
    assert adjusted["sub/loss"] == pytest.approx(expected.mean(), rel=1e-4)
    mirrored = metrics("--config.eval_flip=true")
    assert mirrored["sub/loss"] != plain["sub/loss"]
    assert mirrored["sub/loss"] == pytest.approx(plain["sub/loss"], rel=0.5)
    (run / "data.json").unlink()
    assert evaluate(["--workdir", str(run), "--config.rare_classes.post_hoc.sub=1.0"]) == 2
    assert "data.json" in capsys.readouterr().err
