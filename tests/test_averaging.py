import contextlib
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fashion_jax.devices.mesh import create_mesh, fetch, put_batch
from fashion_jax.models.batch_norm import BatchNorm
from fashion_jax.step.averaging import next_average
from fashion_jax.step.prediction import predict_split
from fashion_jax.step.program import create_program
from fashion_jax.training.initial_state import new_state
from fashion_jax.training.train import train_and_evaluate
from fashion_jax.workdir.checkpoints.store import Checkpoints
from fashion_jax.workdir.files import read_taxonomy
from fashion_jax.workdir.trained import load_trained, restore_parts
from tests.steps import TAXONOMY, build, random_batch


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


class Small(nn.Module):
    """A network with BatchNorm, whose step is compiled in a second."""

    @nn.compact
    def __call__(self, images, *, train, targets=None):
        x = BatchNorm(name="bn1")(images[:, ::8, ::8].reshape(len(images), -1) / 255, train=train)
        return {level: nn.Dense(TAXONOMY.num_classes(level), name=level)(x) for level in TAXONOMY.levels}


@pytest.mark.parametrize(("average", "decay"), [(0.1, 0.1), (0.5, 2 / 11)])
def test_the_step_averages_parameters_and_statistics(tiny_config, average, decay):
    tiny_config.update(batch_size=8, average=average)
    mesh, _, state, step = build(tiny_config, jax.devices()[:1], model=Small())
    old = fetch(state.average)
    new = fetch(step(state, put_batch(random_batch(), mesh))[0])
    assert set(new.average) == {"params", "model_state"} and "batch_stats" in new.model_state
    for name, averaged in new.average.items():
        expected = jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, old[name], getattr(new, name))
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), averaged, expected)


def test_images_are_predicted_by_the_averages(tiny_config):
    tiny_config.average = 0.5
    mesh, _, state, _ = build(tiny_config, jax.devices()[:1], model=Small())
    used = []

    def predict(*variables_and_batch):
        used.extend(variables_and_batch[:2])
        return {"main": jnp.zeros((8, 2))}

    predict_split(state, iter([random_batch()]), 8, predict, mesh)
    assert used[0] is state.average["params"] and used[1] is state.average["model_state"]


@pytest.mark.usefixtures("no_report")
def test_the_averages_of_a_run_predict_and_begin_another_run(tiny_config, tmp_path):
    tiny_config.update(num_epochs=1, average=0.9)
    tiny_config.model.heads = {"main": "linear", "sub": "linear"}
    one = jax.devices()[:1]
    train_and_evaluate(tiny_config, tmp_path, one)
    tiny_config.model.init_from = {"resnet10": str(tmp_path)}
    tiny_config.model.init_heads_from = str(tmp_path)
    program = create_program(tiny_config, read_taxonomy(tmp_path), create_mesh(one))
    like = program.abstract_state
    _, saved = restore_parts(tmp_path, "latest", {"params": like.params, "average": like.average})
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), saved["params"], saved["average"]["params"])
    assert all(jax.tree.leaves(changed))
    used, begun = load_trained(tmp_path, "latest").state, new_state(program, lambda text: None)
    for name, averaged in saved["average"].items():
        for found in (getattr(used, name), getattr(begun, name), begun.average[name]):
            jax.tree.map(np.testing.assert_array_equal, found, averaged)


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
