"""Updates that are not finite are skipped; after too many the run stops, or goes back."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fashion_jax.errors import Interrupted, RunError
from fashion_jax.step import guard, train_step
from fashion_jax.step.global_norm import global_norm
from fashion_jax.step.guard import clip, epoch_summary, init_guard
from fashion_jax.step.train_state import TrainState
from fashion_jax.training import interruption
from fashion_jax.training.train import train_and_evaluate
from fashion_jax.workdir.checkpoints.store import Checkpoints
from tests.run_files import digests, without_timing

TX = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.9))


def one_state() -> TrainState:
    params = {"w": jnp.ones(3)}
    return TrainState(
        step=jnp.int32(0),
        epoch=jnp.int32(0),
        seen=jnp.int32(0),
        params=params,
        model_state={"mean": jnp.ones(2)},
        opt_state=TX.init(params),
        metrics={"count": jnp.int32(5)},
        guard=init_guard(jnp.float32),
    )


def step(state: TrainState, gradient: float, loss: float = 1.0, limit: int = 3) -> TrainState:
    grads = {"w": jnp.full(3, gradient)}
    norm = global_norm(grads)
    good = guard.is_applied(state.guard, jnp.float32(loss), norm, limit)
    updates, opt_state = TX.update(grads, state.opt_state, state.params)
    params, opt_state = guard.where(
        good, (optax.apply_updates(state.params, updates), opt_state), (state.params, state.opt_state)
    )
    return state.replace(
        step=state.step + 1,
        params=params,
        model_state=guard.where(good, {"mean": state.model_state["mean"] * 2}, state.model_state),
        opt_state=opt_state,
        metrics=guard.where(good, {"count": state.metrics["count"] + 1}, state.metrics),
        guard=guard.count(state.guard, good, norm, global_norm(updates), jnp.bool_(False)),
    )


def values(state: TrainState) -> list:
    return [np.asarray(x).tolist() for x in jax.tree.leaves((state.params, state.model_state, state.metrics))]


@pytest.mark.parametrize(("gradient", "loss"), [(np.nan, 1.0), (np.inf, 1.0), (1.0, np.nan), (1.0, -np.inf)])
def test_an_update_that_is_not_finite_changes_nothing_but_the_counts(gradient, loss):
    before = step(one_state(), 1.0)
    after = step(before, gradient, loss)
    assert values(after) == values(before)
    assert after.step == 2 and after.guard["in_a_row"] == 1
    np.testing.assert_array_equal(*(jax.tree.leaves(s.opt_state)[0] for s in (before, after)))
    assert epoch_summary(jax.device_get(after.guard)) == {
        "gradient_norm": pytest.approx(3**0.5),
        "update_norm": pytest.approx(0.1 * 1.1 * 3**0.5),
        "skipped_updates": 1,
    }
    assert step(after, 1.0).guard["in_a_row"] == 0


def test_after_too_many_in_a_row_nothing_is_applied_any_more():
    state = one_state()
    for _ in range(3):
        state = step(state, np.nan)
    frozen = step(state, 1.0)
    assert values(frozen) == values(one_state()) and frozen.guard["in_a_row"] == 4


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
    ("policy", "limit", "others", "saved"), [("stop", 1, "skip or rollback", [3]), ("skip", 3, "rollback", [3, 6])]
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
    assert capsys.readouterr().out.count("from step 8 on: back to step 6") == 2
    assert [line["learning_rate"] for line in whole] == [0.01 / 4, pytest.approx(0.005 / 4)]
    for polls in (7, 9, 12):  # before the bad steps, among them, and after the first rollback
        asked = iter(range(1, 10**6))
        with monkeypatch.context() as patched, pytest.raises(Interrupted):
            patched.setattr(interruption, "requested", lambda polls=polls, asked=asked: next(asked) == polls)
            train_and_evaluate(config, tmp_path / str(polls))
        train_and_evaluate(config, tmp_path / str(polls))
        assert without_timing(tmp_path / str(polls)) == without_timing(tmp_path / "whole")
        assert digests(tmp_path / str(polls), 20) == digests(tmp_path / "whole", 20)


def test_rollbacks_come_to_an_end(config, tmp_path, poisoned):
    poisoned(2, 4, rollbacks=9)
    config.on_nonfinite, config.nonfinite.max_rollbacks = "rollback", 2
    with pytest.raises(RunError, match="not finite from step 2 on, after 2 rollbacks: lower learning_rate"):
        train_and_evaluate(config, tmp_path)
