"""Balances rare classes: weights in the loss, and logits adjusted to the classes' frequencies in training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from jax import Array
from ml_collections import ConfigDict

Levels = Mapping[str, np.ndarray]  # level -> float64 [classes]


@dataclasses.dataclass(frozen=True)
class ClassBalance:
    """Weights and logit adjustments for the classes of each level; a level that is not named is unchanged.

    Attributes:
        weights: of the classes in the loss.
        loss_logit_adjustments: added to the logits in the loss.
        post_hoc_logit_adjustments: added to the logits when predicting.
    """

    weights: Levels
    loss_logit_adjustments: Levels
    post_hoc_logit_adjustments: Levels

    def weighted(self, targets: Mapping[str, Array]) -> dict[str, Array]:
        """Multiplies shares of classes, level -> [batch, classes], by the classes' weights."""
        return {k: x * self.weights[k].astype(x.dtype) if k in self.weights else x for k, x in targets.items()}

    def trained(self, logits: Mapping[str, Array]) -> dict[str, Array]:
        """Returns level -> the logits [batch, classes] that enter the loss."""
        return _adjusted(logits, self.loss_logit_adjustments)

    def predicted(self, logits: Mapping[str, Array]) -> dict[str, Array]:
        """Returns level -> the logits [batch, classes] whose softmax is predicted."""
        return _adjusted(logits, self.post_hoc_logit_adjustments)


NO_BALANCE = ClassBalance({}, {}, {})


def create_class_balance(config: ConfigDict, counts: Mapping[str, np.ndarray]) -> ClassBalance:
    """Creates the class balance that config.rare_classes asks for.

    With n images of a class and N of all: balanced softmax (Ren et al. 2020) adds log n to the logits in the loss;
    logit adjustment (Menon et al. 2020) adds tau log(n / N), which is equivalent for tau = 1; post hoc, tau log(n / N)
    is subtracted from the logits of a plainly trained model.

    Args:
        config: checked.
        counts: level -> training images of each class, all above 0.
    """
    chosen = config.rare_classes
    priors = {level: np.log(n / n.sum()) for level, n in counts.items()}
    taus = {"balanced_softmax": 1.0, "logit_adjustment": chosen.tau}
    return ClassBalance(
        weights={level: class_weights(counts[level], kind, chosen.beta) for level, kind in chosen.weights.items()},
        loss_logit_adjustments={level: taus[kind] * priors[level] for level, kind in chosen.loss.items()},
        post_hoc_logit_adjustments={level: -tau * priors[level] for level, tau in chosen.post_hoc.items()},
    )


def class_weights(counts: np.ndarray, kind: str, beta: float) -> np.ndarray:
    """Returns weights [classes], mean 1: inverse (1 / n) or effective, (1 - beta) / (1 - beta^n) (Cui et al. 2019)."""
    counts = np.asarray(counts, np.float64)
    weights = 1 / counts if kind == "inverse" else (1 - beta) / (1 - beta**counts)
    return weights / weights.mean()


def _adjusted(logits: Mapping[str, Array], adjustments: Levels) -> dict[str, Array]:
    return {level: x + adjustments[level].astype(x.dtype) if level in adjustments else x for level, x in logits.items()}
