"""Creates the optimizers: SGD with momentum, AdamW and Muon, with a learning rate of 1, for the trained parameters."""

from typing import Any

import jax
import optax
from ml_collections import ConfigDict
from optax.contrib import MuonDimensionNumbers, muon

from fashion_jax.models.heads import LAST_LAYER
from fashion_jax.models.learning_rate_factors import LearningRateFactors

_MUON_RMS = 0.2  # root mean square of Muon's updates, that of AdamW's (Liu et al. 2025, arXiv 2502.16982, section 2.2)


def create_optimizer(config: ConfigDict, factors: LearningRateFactors) -> optax.GradientTransformation:
    """Creates config.optimizer with a learning rate of 1; the step multiplies its updates by the learning rate.

    sgd is torch.optim.SGD: the weight decay is added to the gradient before the momentum. adamw is torch.optim.AdamW,
    with betas (momentum, adam_beta2). muon is Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) for
    the kernels of all convolutions, each as a matrix [height * width * inputs, outputs], and of all dense layers but
    the last ones of the heads; its updates have the size of AdamW's, which is used for all other parameters. With
    no_decay, biases and the parameters of BatchNorm have no weight decay.

    Frozen parameters have neither decay nor state, and no update.
    """
    decay = optax.add_decayed_weights(config.weight_decay, _is_kernel if config.no_decay else None)
    if config.optimizer == "sgd":
        rules = {"trained": optax.chain(decay, optax.sgd(1.0, momentum=config.momentum))}
    else:
        adam = optax.scale_by_adam(b1=config.momentum, b2=config.adam_beta2)
        rules = {"trained": optax.chain(adam, decay, optax.scale(-1.0))}
    if config.optimizer == "muon":
        rules["matrix"] = _muon(config.momentum, config.weight_decay)
    elif not factors.patterns:
        return rules["trained"]

    def label(path: tuple[Any, ...], leaf: Any) -> str:
        names = tuple(key.key for key in path)
        if factors.is_frozen(*names):
            return "frozen"
        return "matrix" if "matrix" in rules and leaf.ndim > 1 and LAST_LAYER not in names else "trained"

    rules["frozen"] = optax.set_to_zero()
    return optax.partition(rules, lambda params: jax.tree.map_with_path(label, params))


def scaled(updates: Any, factors: LearningRateFactors) -> Any:
    """Multiplies updates by the factors on the learning rates of their parameters."""
    return jax.tree.map(lambda u, factor: u if factor in (0, 1) else u * factor, updates, factors.tree(updates))


def _muon(momentum: float, weight_decay: float) -> optax.GradientTransformation:
    def dimension_numbers(kernel: Any) -> MuonDimensionNumbers:
        """Flattens a kernel [..., inputs, outputs] to a matrix [... * inputs, outputs]."""
        return MuonDimensionNumbers(tuple(range(kernel.ndim - 1)), kernel.ndim - 1)

    return muon(
        1.0,
        beta=momentum,
        weight_decay=weight_decay,
        muon_weight_dimension_numbers=lambda params: jax.tree.map(dimension_numbers, params),
        consistent_rms=_MUON_RMS,
    )


def _is_kernel(params: Any) -> Any:
    """Returns for each parameter whether it is a kernel: biases and the parameters of BatchNorm are vectors."""
    return jax.tree.map(lambda x: x.ndim > 1, params)
