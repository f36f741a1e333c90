import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fashion_jax.devices.mesh import fetch, put_batch
from fashion_jax.step.averaging import next_average
from fashion_jax.workdir.checkpoints.store import Checkpoints
from tests.steps import build, random_batch


def test_the_average_is_the_formulas():
    values, average = np.asarray([3.0, -1.0, 2.0], np.float32), jnp.asarray(1.0)
    expected = 1.0
    state = {"params": {"w": average}, "model_state": {}}
    for n, value in enumerate(values, start=1):
        decay = min(0.2, (1 + n) / (10 + n))  # 2 / 11, then 0.2
        expected = decay * expected + (1 - decay) * value
        state = next_average(
            state, {"w": jnp.asarray(value)}, {}, good=jnp.asarray(True), step=jnp.int32(n - 1), decay=0.2
        )
    assert float(state["params"]["w"]) == pytest.approx(expected, rel=1e-6)
    same = next_average(state, {"w": jnp.asarray(9.0)}, {}, good=jnp.asarray(False), step=jnp.int32(3), decay=0.2)
    assert float(same["params"]["w"]) == float(state["params"]["w"])


@pytest.mark.long
def test_the_step_averages_parameters_and_statistics(tiny_config):
    tiny_config.update(batch_size=8, average=0.5)
    mesh, _, state, step = build(tiny_config, jax.devices()[:1])
    old = fetch(state.average)
    new, _ = step(state, put_batch(random_batch(), mesh))
    decay = 2 / 11
    kernel = decay * old["params"]["trunk"]["conv1"]["kernel"] + (1 - decay) * new.params["trunk"]["conv1"]["kernel"]
    np.testing.assert_allclose(new.eval_variables[0]["trunk"]["conv1"]["kernel"], kernel, rtol=1e-5, atol=1e-7)
    statistics = [tree["batch_stats"]["trunk"]["bn1"]["mean"] for tree in (old["model_state"], new.model_state)]
    found = new.eval_variables[1]["batch_stats"]["trunk"]["bn1"]["mean"]
    np.testing.assert_allclose(found, decay * statistics[0] + (1 - decay) * statistics[1], rtol=1e-5, atol=1e-7)


def test_without_an_average_the_state_has_none(tiny_config):
    state = build(tiny_config, jax.devices()[:1])[2]
    assert state.average == {} and state.eval_variables == (state.params, state.model_state)


def test_a_checkpoint_of_before_there_were_averages_is_restored(tiny_config, tmp_path):
    """Another one of before has the progress of early stopping, which follows from metrics.jsonl now."""
    state = build(tiny_config, jax.devices()[:1])[2]
    before = {name: getattr(state, name) for name in ("step", "epoch", "seen", "params", "model_state", "opt_state")}
    before |= {"metrics": state.metrics, "guard": state.guard}
    before |= {"stopping": {"best": jnp.float32(0.5), "count": jnp.int32(1)}}
    with contextlib.closing(Checkpoints(tmp_path, keep=1)) as checkpoints:
        checkpoints.save_now(0, before)
        step, restored = checkpoints.restore_latest(state)
    assert step == 0 and restored.average == {}
    np.testing.assert_array_equal(restored.params["trunk"]["conv1"]["kernel"], state.params["trunk"]["conv1"]["kernel"])
