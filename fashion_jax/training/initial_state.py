"""Creates the state that a run begins with, from its seed and from the weights that its config names."""

from __future__ import annotations

from fashion_jax.config.combinations import head_names, loss_weights
from fashion_jax.step.averaging import restart_average
from fashion_jax.step.program import Program
from fashion_jax.step.train_state import TrainState
from fashion_jax.training.agreement import check_same_weights
from fashion_jax.training.init_from import others_than, with_trunks
from fashion_jax.training.init_heads import with_heads
from fashion_jax.workdir.checkpoints.store import Say


def new_state(program: Program, say: Say) -> TrainState:
    """Returns a new state, with the weights of model.init_from and model.init_heads_from if they are set.

    Args:
        program: whose config names them.
        say: is called with sentences on what was loaded.
    """
    model = program.config.model
    heads = head_names(program.config)
    begun = with_trunks(program.create_state(), model.name, heads, model.init_from, say)
    untrained = [level for level, weight in loss_weights(program.config).items() if not weight]
    with_gate = not others_than(model.init_heads_from, model.name, model.init_from)
    begun = with_heads(
        begun, program.taxonomy, heads, model.init_heads_from, say, with_gate=with_gate, untrained=untrained
    )
    check_same_weights((begun.params, begun.model_state), [*model.init_from.values(), model.init_heads_from])
    return restart_average(begun)
