"""Updates that are not finite are skipped; after too many the run stops, or goes back."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fashion_jax.devices.mesh import fetch, put_batch
from fashion_jax.errors import Interrupted, RunError
from fashion_jax.step import guard, train_step
from fashion_jax.step.global_norm import global_norm
from fashion_jax.step.guard import clip, epoch_summary
from fashion_jax.training import interruption
from fashion_jax.training.train import train_and_evaluate
from fashion_jax.workdir.checkpoints.store import Checkpoints
from tests.cutting import cut_after
from tests.run_files import digests, without_timing
from tests.steps import TAXONOMY, build, random_batch

RATE, DECAY, BATCH, LIMIT = 0.01, 5e-4, 8, 3
GOOD, BAD_LOSS, BAD_GRADIENT = 100, 255, 0  # the value of every pixel


class Fragile(nn.Module):
    """A network with BatchNorm: white images make its loss infinite, black ones its gradient, and not the other."""

    sizes: dict[str, int]

    @nn.compact
    def __call__(self, images, *, train, targets=None):
        images = images / 50 - 2.5  # pixels from 0 to 255
        level = images.mean(axis=(1, 2, 3), keepdims=False)[:, None]  # of brightness, from -2.5 to 2.6
        scale = self.param("scale", nn.initializers.ones, (1,))
        black = jnp.sqrt(scale * jnp.where(level < -1.5, 0, level + 3))  # 0 there, and its slope infinite
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(4)(images[:, ::8, ::8].reshape(len(images), -1)))
        heads = {name: nn.Dense(size, name=name)(x) for name, size in self.sizes.items()}
        # The logit of the first class of white images is a constant, so that no gradient goes through it.
        is_lost = {name: (level > 1.5) & (jnp.arange(size) == 0) for name, size in self.sizes.items()}
        return {name: jnp.where(is_lost[name], -jnp.inf, logits + black) for name, logits in heads.items()}


class Steps:
    """The trainer's step of a small network, and what it leaves of batches of one brightness."""

    def __init__(self, config, steps_per_epoch=100):
        sizes = {level: TAXONOMY.num_classes(level) for level in TAXONOMY.levels}
        self.mesh, _, self._state, self._step = build(config, jax.devices()[:1], steps_per_epoch, model=Fragile(sizes))

    def after(self, *brightness, begins=None):
        """The host's copy of the state after some batches."""
        state = jax.tree.map(jnp.copy, self._state if begins is None else begins)
        for value in brightness:
            batch = random_batch(BATCH)
            noise = batch["image"] // 8 if value == GOOD else 0
            batch["image"] = np.full_like(batch["image"], value) + noise
            state, _ = self._step(state, put_batch(batch, self.mesh))
        return fetch(state)


@pytest.fixture
def small(tiny_config):
    """A config whose step is compiled in a second."""
    tiny_config.batch_size, tiny_config.augment, tiny_config.num_epochs = BATCH, "none", 1
    tiny_config.learning_rate, tiny_config.weight_decay = RATE, DECAY
    tiny_config.nonfinite.max_in_a_row, tiny_config.nonfinite.learning_rate_factor = LIMIT, 0.5
    return tiny_config


def assert_same(one, other, *fields):
    for field in fields:
        jax.tree.map(np.testing.assert_array_equal, getattr(one, field), getattr(other, field))


def assert_changed(one, other, *fields):
    for field in fields:
        pairs = zip(*(jax.tree.leaves(getattr(state, field)) for state in (one, other)), strict=True)
        assert any(np.any(a != b) for a, b in pairs), field


TRAINED = ("params", "model_state", "opt_state", "metrics")  # what a batch changes


def norm_of_change(one, other):
    return float(optax.tree.norm(jax.tree.map(np.subtract, one.params, other.params)))


@pytest.mark.parametrize("bad", [BAD_LOSS, BAD_GRADIENT])
def test_a_batch_that_is_not_finite_changes_nothing_but_the_counts(small, bad):
    steps = Steps(small)
    before, after = steps.after(GOOD), steps.after(GOOD, bad)
    assert_changed(steps.after(), before, *TRAINED)
    assert_same(before, after, *TRAINED)
    assert (after.step, after.seen, after.epoch) == (2, 2 * BATCH, 0)
    assert {name: int(after.guard[name]) for name in ("in_a_row", "rollbacks", "updates", "skipped")} == {
        "in_a_row": 1,
        "rollbacks": 0,
        "updates": 2,
        "skipped": 1,
    }
    assert epoch_summary(after.guard) == epoch_summary(before.guard) | {"skipped_updates": 1}
    again = steps.after(GOOD, bad, GOOD)
    assert_changed(after, again, *TRAINED)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves([getattr(again, field) for field in TRAINED]))
    assert again.guard["in_a_row"] == 0 and again.guard["skipped"] == 1


@pytest.mark.parametrize(("policy", "limit"), [("skip", LIMIT), ("rollback", LIMIT), ("stop", 1)])
def test_after_too_many_in_a_row_nothing_is_applied_any_more(small, policy, limit):
    small.on_nonfinite = policy
    steps = Steps(small)
    begun = steps.after(GOOD)
    frozen = steps.after(GOOD, *[BAD_LOSS] * limit, GOOD)
    assert_same(begun, frozen, *TRAINED)
    assert frozen.guard["in_a_row"] == limit + 1
    if limit > 1:
        assert_changed(begun, steps.after(GOOD, *[BAD_LOSS] * (limit - 1), GOOD), *TRAINED)


def test_an_epochs_sums_start_anew_even_with_a_batch_that_is_skipped(small):
    steps = Steps(small, steps_per_epoch=2)
    state = steps.after(GOOD, GOOD, BAD_LOSS)
    assert (state.epoch, state.seen) == (1, BATCH)
    assert all(not np.any(x) for x in jax.tree.leaves(state.metrics))
    assert {name: float(state.guard[name]) for name in ("updates", "skipped", "gradient_norm", "update_norm")} == {
        "updates": 1,
        "skipped": 1,
        "gradient_norm": 0,
        "update_norm": 0,
    }


def test_the_norms_of_gradient_and_update_are_counted(small):
    small.weight_decay = 0.0
    steps = Steps(small)
    before, after = steps.after(), steps.after(GOOD)
    update = norm_of_change(after, before)
    assert epoch_summary(after.guard) == {
        "gradient_norm": pytest.approx(update / RATE, rel=1e-4),  # the first update is the gradient times the rate
        "update_norm": pytest.approx(update, rel=1e-4),
        "skipped_updates": 0,
    }


def test_rollbacks_slow_the_update(small):
    steps = Steps(small)
    begins = steps.after()
    slower = begins.replace(guard=begins.guard | {"rollbacks": np.int32(2)})
    whole, slowed = steps.after(GOOD), steps.after(GOOD, begins=slower)
    assert norm_of_change(slowed, begins) == pytest.approx(norm_of_change(whole, begins) / 4, rel=1e-4)
    assert slowed.guard["rollbacks"] == 2


def test_the_step_clips_the_gradient_and_counts_its_whole_norm(small):
    small.weight_decay = 0.0
    whole = Steps(small).after(GOOD)
    small.clip_gradient_norm = 0.5 * float(whole.guard["gradient_norm"])
    steps = Steps(small)
    clipped = steps.after(GOOD)
    assert norm_of_change(clipped, steps.after()) == pytest.approx(RATE * small.clip_gradient_norm, rel=1e-4)
    assert clipped.guard["gradient_norm"] == pytest.approx(whole.guard["gradient_norm"], rel=1e-6)


def test_the_rules_that_the_step_and_the_host_share():
    """The step uses them with arrays, the host with numbers."""
    assert [guard.limit_in_a_row(policy, LIMIT) for policy in ("stop", "skip", "rollback")] == [1, LIMIT, LIMIT]
    for number in (int, jnp.int32):
        assert guard.may_continue(number(LIMIT - 1), LIMIT) and not guard.may_continue(number(LIMIT), LIMIT)
        assert guard.slowed(RATE, 0.5, number(0)) == pytest.approx(RATE, rel=1e-7)
        assert guard.slowed(RATE, 0.5, number(3)) == pytest.approx(RATE / 8, rel=1e-6)


def test_gradients_are_clipped_to_the_norm():
    grads = {"a": jnp.asarray([3.0]), "b": jnp.asarray([4.0])}
    norm = global_norm(grads)
    assert clip(grads, norm, 0.0) is grads
    assert optax.tree.norm(clip(grads, norm, 1.0)) == pytest.approx(1)
    np.testing.assert_array_equal(clip(grads, norm, 10.0)["a"], grads["a"])


@pytest.fixture
def poisoned(monkeypatch):
    """Makes the loss of some steps NaN, as long as the run has not gone back more than so many times."""

    def poison(first: int, last: int, rollbacks: int = 0) -> None:
        plain_step, is_applied = train_step.train_step, guard.is_applied

        def step(state, batch, **static):
            bad = (state.step >= first - 1) & (state.step < last) & (state.guard["rollbacks"] <= rollbacks)
            with monkeypatch.context() as traced:
                traced.setattr(
                    guard, "is_applied", lambda g, loss, *xs: is_applied(g, jnp.where(bad, jnp.nan, loss), *xs)
                )
                return plain_step(state, batch, **static)

        monkeypatch.setattr(train_step, "train_step", step)

    return poison


@pytest.fixture
def config(tiny_config):
    tiny_config.checkpoint.every_steps, tiny_config.log_every_steps = 3, 2
    tiny_config.nonfinite.max_in_a_row = 3
    return tiny_config


@pytest.mark.usefixtures("no_report")
def test_a_skipped_update_is_counted_and_the_run_goes_on(config, tmp_path, poisoned):
    poisoned(5, 6)
    lines = train_and_evaluate(config, tmp_path)
    assert [line["train/skipped_updates"] for line in lines] == [2, 0]
    assert all(line["train/gradient_norm"] > 0 and line["train/update_norm"] > 0 for line in lines)


@pytest.mark.parametrize(
    ("policy", "limit", "others", "saved"),
    [("stop", 1, "skip or rollback", [3]), pytest.param("skip", 3, "rollback", [3, 6], marks=pytest.mark.long)],
)
def test_the_run_stops_where_it_may_not_go_on(config, tmp_path, poisoned, policy, limit, others, saved):
    poisoned(5, 5 + limit - 1)
    config.on_nonfinite = policy
    sentence = rf"is not finite from step 5 on: set on_nonfinite to {others} and run again, .*learning_rate \(0\.01\)"
    with pytest.raises(RunError, match=sentence):
        train_and_evaluate(config, tmp_path)
    assert Checkpoints(tmp_path / "checkpoints", keep=2, read_only=True).steps() == saved


@pytest.mark.usefixtures("no_report")
@pytest.mark.long
def test_a_rollback_goes_on_from_the_last_good_checkpoint_more_slowly_and_exactly(
    config, tmp_path, poisoned, monkeypatch, capsys
):
    """Steps 8 to 10 are bad, twice: the second time the learning rate has been halved already."""
    poisoned(8, 10, rollbacks=1)
    config.on_nonfinite = "rollback"
    whole = train_and_evaluate(config, tmp_path / "whole")
    assert capsys.readouterr().out.count("from step 8 on. The run returns to step 6") == 2
    assert [line["learning_rate"] for line in whole] == [0.01 / 4, pytest.approx(0.005 / 4)]
    for polls in (7, 9, 12):  # before the bad steps, among them, and after the first rollback
        asked = iter(range(1, 10**6))
        with monkeypatch.context() as patched, pytest.raises(Interrupted):
            patched.setattr(interruption, "requested", lambda polls=polls, asked=asked: next(asked) == polls)
            train_and_evaluate(config, tmp_path / str(polls))
        train_and_evaluate(config, tmp_path / str(polls))
        assert without_timing(tmp_path / str(polls)) == without_timing(tmp_path / "whole")
        assert digests(tmp_path / str(polls), 20) == digests(tmp_path / "whole", 20)


def test_a_rollback_takes_what_was_saved_before_the_steps_between_checkpoints_changed_but_only_so_often(
    config, tmp_path, poisoned, monkeypatch, capsys
):
    poisoned(8, 10, rollbacks=9)
    config.on_nonfinite, config.nonfinite.max_rollbacks = "rollback", 2
    cut_after(monkeypatch, 7, config, tmp_path)
    config.checkpoint.every_steps = 1000
    with pytest.raises(RunError, match="not finite from step 8 on, after 2 rollbacks: lower learning_rate"):
        train_and_evaluate(config, tmp_path)
    out = capsys.readouterr().out
    assert out.count("from step 8 on. The run returns to step 6") == 2
    assert "learning_rate 0.005 instead of 0.01." in out and "learning_rate 0.0025 instead of 0.005." in out


@pytest.mark.long
def test_a_rollback_to_before_the_first_checkpoint_begins_anew(config, tmp_path, poisoned, capsys):
    poisoned(2, 4, rollbacks=9)
    config.on_nonfinite, config.nonfinite.max_rollbacks = "rollback", 2
    with pytest.raises(RunError, match="not finite from step 2 on, after 2 rollbacks: lower learning_rate"):
        train_and_evaluate(config, tmp_path)
    assert capsys.readouterr().out.count("from step 2 on. The run returns to step 0") == 2
