"""Defines the steps as pure functions of (state, batch); they are jitted once, outside."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fashion_jax.config.loading import image_shape
from fashion_jax.data.augmentation import prepare_eval, prepare_train
from fashion_jax.data.augmentation.mixing import dominant_labels, soft_targets
from fashion_jax.devices.compiler import compiler_options, loop_unroll
from fashion_jax.devices.mesh import batch_sharding, replicated
from fashion_jax.models.classifier import MultiHeadModel
from fashion_jax.models.learning_rate_factors import LearningRateFactors, merge
from fashion_jax.models.rematerialization import with_remat
from fashion_jax.step import guard
from fashion_jax.step.accumulation import Microbatches, Variables, loss_and_gradient
from fashion_jax.step.averaging import next_average
from fashion_jax.step.class_balance import NO_BALANCE, ClassBalance
from fashion_jax.step.global_norm import global_norm
from fashion_jax.step.learning_rate import LearningRates, learning_rates
from fashion_jax.step.losses import cross_entropy, level_log_probs, smooth, soft_cross_entropy
from fashion_jax.step.metrics import accumulate
from fashion_jax.step.optimizer import scaled
from fashion_jax.step.train_state import TrainState
from fashion_jax.taxonomy import Taxonomy

Batch = dict[str, Any]  # image: uint8 [batch, height, width, 3]; labels: level -> int32 [batch], -1 unknown


class Outcome(NamedTuple):
    """Copies of what the host reads after a step, which stay valid when the next step overwrites the donated state.

    Attributes:
        loss: the loss of the step, at least float32; with mixed labels and balanced classes if the config has them.
        gradient_norm: the norm of the gradient over all parameters, before it is clipped.
        in_a_row: skipped updates since the last applied one, int32.
        rollbacks: number of rollbacks of the run so far, int32.
    """

    loss: Array
    gradient_norm: Array
    in_a_row: Array
    rollbacks: Array


@dataclasses.dataclass(frozen=True)
class StepParts:
    """The static parts of the steps.

    Attributes:
        config: a checked config.
        taxonomy: the levels and classes.
        model: the network.
        optimizer: the optimizer, with a learning rate of 1.
        factors: on the learning rates of the parameters.
        balance: weights and logit adjustments for rare classes.
        num_images: images of an epoch; 0 if nothing is trained.
        shape: (height, width) of the images that are trained.
        mesh: the devices that batches are spread over.
    """

    config: ConfigDict
    taxonomy: Taxonomy
    model: MultiHeadModel
    optimizer: optax.GradientTransformation
    factors: LearningRateFactors
    balance: ClassBalance
    num_images: int
    shape: tuple[int, int]
    mesh: Mesh

    @functools.cached_property
    def learning_rates(self) -> LearningRates:
        """Returns the learning rates of all epochs."""
        return learning_rates(self.config, self.num_images)


def train_step(state: TrainState, batch: Batch, *, parts: StepParts) -> tuple[TrainState, Outcome]:
    """Applies one update, or none if the loss or the gradient is not finite.

    All randomness is a function of (config.seed, state.step), and all averages are over the global batch. An epoch ends
    when fewer of the num_images are left than a batch takes. Its metrics are those of plain cross-entropy, of logits
    that rare_classes.post_hoc has adjusted if it is set; a mixed image counts with the label of its larger share.

    """
    config = parts.config
    loss, logits, model_state, grads, labels = _differentiate(state, batch, parts)
    log_probs = level_log_probs(parts.balance.predicted(logits), parts.taxonomy)
    norm = global_norm(grads)
    limit = guard.limit_in_a_row(config.on_nonfinite, config.nonfinite.max_in_a_row)
    good = guard.is_applied(state.guard, loss, norm, limit)
    factor = jnp.asarray(config.nonfinite.learning_rate_factor, state.guard["update_norm"].dtype)
    planned = parts.learning_rates.at(state.epoch, state.seen)
    rate = guard.slowed(planned, factor, state.guard["rollbacks"])
    grads = guard.clip(grads, norm, config.clip_gradient_norm)
    params, opt_state, update_norm = _update(state, grads, good, rate, parts)
    model_state = guard.where(good, model_state, state.model_state)
    is_first = state.seen == 0
    metrics = guard.where(is_first, jax.tree.map(jnp.zeros_like, state.metrics), state.metrics)
    seen = state.seen + config.batch_size
    is_last = seen + config.batch_size > parts.num_images
    next_state = TrainState(
        step=state.step + 1,
        epoch=state.epoch + is_last,
        seen=jnp.where(is_last, 0, seen),
        params=params,
        model_state=model_state,
        opt_state=opt_state,
        metrics=guard.where(good, _next_metrics(metrics, log_probs, labels), metrics),
        guard=guard.count(state.guard, good, norm, update_norm, is_first),
        average=next_average(state.average, params, model_state, good=good, step=state.step, decay=config.average),
    )
    return next_state, Outcome(loss, norm, next_state.guard["in_a_row"], next_state.guard["rollbacks"])


def eval_step(params: Any, model_state: Any, batch: Batch, *, parts: StepParts) -> dict[str, Array]:
    """Returns level -> log-probabilities [batch, classes], at least float32.

    With config.eval_flip, the probabilities of each image and its mirror image are averaged.
    """

    def log_probs(images: Array) -> dict[str, Array]:
        logits: Any = parts.model.apply({"params": params, **model_state}, images, train=False)
        return level_log_probs(parts.balance.predicted(logits), parts.taxonomy)

    images = prepare_eval(batch["image"], image_shape(parts.config), jnp.dtype(parts.config.dtype))
    if not parts.config.eval_flip:
        return log_probs(images)
    return jax.tree.map(lambda a, b: jnp.logaddexp(a, b) - jnp.log(2), log_probs(images), log_probs(images[:, :, ::-1]))


def embed_step(params: Any, model_state: Any, batch: Batch, *, parts: StepParts) -> Array:
    """Returns the trunk's output for each image, which is the heads' input, float32 [batch, features].

    It is that of the image itself, also with config.eval_flip.
    """
    images = prepare_eval(batch["image"], image_shape(parts.config), jnp.dtype(parts.config.dtype))
    features: Any = parts.model.apply({"params": params, **model_state}, images, method="features")
    return features.astype(jnp.float32)


def jit_train_step(parts: StepParts, *, stacked: bool = False) -> jax.stages.Wrapped:
    """Jits train_step of (state, batch): the batch is sharded over the mesh, the state replicated and donated.

    If stacked, it takes (state, batches [steps, batch, ...]) and runs the steps in one program; it returns the outcome
    of the last one.
    """
    step = functools.partial(train_step, parts=parts)
    everywhere = replicated(parts.mesh)

    def steps(state: TrainState, batches: Batch) -> tuple[TrainState, Outcome]:
        state, outcomes = lax.scan(step, state, batches)
        return state, jax.tree.map(lambda x: x[-1], outcomes)

    return jax.jit(
        steps if stacked else step,
        in_shardings=(everywhere, batch_sharding(parts.mesh, stacked)),
        out_shardings=everywhere,
        donate_argnums=0,
        compiler_options=compiler_options(parts.mesh),
    )


def jit_eval_step(parts: StepParts) -> jax.stages.Wrapped:
    """Jits eval_step of (params, model_state, batch), see `jit_on_batches`."""
    return jit_on_batches(eval_step, parts)


def jit_embed_step(parts: StepParts) -> jax.stages.Wrapped:
    """Jits embed_step of (params, model_state, batch), see `jit_on_batches`."""
    return jit_on_batches(embed_step, parts)


def jit_on_batches(function: Callable[..., Any], parts: StepParts) -> jax.stages.Wrapped:
    """Jits a function of (params, model_state, batch, parts=): the batch is sharded over the mesh, all else replicated.

    The jitted function takes (params, model_state, batch).
    """
    everywhere = replicated(parts.mesh)
    return jax.jit(
        functools.partial(function, parts=parts),
        in_shardings=(everywhere, everywhere, batch_sharding(parts.mesh)),
        out_shardings=everywhere,
        compiler_options=compiler_options(parts.mesh),
    )


def _differentiate(
    state: TrainState, batch: Batch, parts: StepParts
) -> tuple[Array, dict[str, Array], Any, Any, dict[str, Array]]:
    """Computes the loss of a batch, its logits, the next model_state, the gradient, and the labels of the metrics."""
    config, balance = parts.config, parts.balance
    augment_key, dropout_key = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), state.step))
    images, share = prepare_train(batch["image"], augment_key, config.augment, parts.shape, jnp.dtype(config.dtype))
    sizes = {level: parts.taxonomy.num_classes(level) for level in batch["labels"]}
    targets = {level: soft_targets(x, share, sizes[level]) for level, x in batch["labels"].items()}
    smoothed = {level: smooth(x, config.label_smoothing.get(level, 0)) for level, x in targets.items()}
    # The gradient is taken with respect to the trained parameters only, so that nothing is computed backwards through
    # layers before which nothing is trained.
    trained, frozen = parts.factors.split(state.params)

    def compute(params: Any, **given: Any) -> tuple[Array, tuple[dict[str, Array], Any]]:
        return compute_loss(merge(params, frozen), model=parts.model, balance=balance, **given)

    loss, logits, model_state, grads = loss_and_gradient(
        with_remat(compute, config.remat),
        Variables(trained, state.model_state),
        {"images": images, "targets": targets, "smoothed": smoothed},
        dropout_key,
        loss_weights=config.loss_weights,
        masses={level: x.sum(-1) for level, x in balance.weighted(targets).items()},
        microbatches=Microbatches(
            config.accumulate,
            config.batch_norm_group_size if config.batch_norm == "group" else 1,
            loop_unroll(parts.mesh),
        ),
    )
    labels = {level: dominant_labels(x, share) for level, x in batch["labels"].items()}
    return loss, logits, model_state, merge(grads, jax.tree.map(jnp.zeros_like, frozen)), labels


def compute_loss(
    params: Any,
    *,
    model_state: Any,
    batch: Batch,
    key: Array,
    model: MultiHeadModel,
    loss_weights: dict[str, Any],
    balance: ClassBalance = NO_BALANCE,
) -> tuple[Array, tuple[dict[str, Array], Any]]:
    """Returns the weighted sum of the levels' losses, and with it the logits and the new model_state.

    The batch has images [batch, height, width, 3], and level -> [batch, classes]: targets, each image's share of a
    class, and smoothed, the same after label smoothing.
    """
    images, targets = batch["images"], batch["targets"]
    logits, model_state = model.apply(
        {"params": params, **model_state},
        images,
        train=True,
        targets=targets,
        rngs={"dropout": key},
        mutable=list(model_state),
    )
    masses = {level: x.sum() for level, x in balance.weighted(targets).items()}
    smoothed = balance.weighted(batch["smoothed"])
    losses = {
        level: soft_cross_entropy(x, smoothed[level], masses[level]) for level, x in balance.trained(logits).items()
    }
    return sum(loss_weights[level] * loss for level, loss in losses.items()), (logits, model_state)


def _update(
    state: TrainState, grads: Any, good: Array, rate: Array, parts: StepParts
) -> tuple[Any, optax.OptState, Array]:
    """Returns parameters and optimizer state after the update, or unchanged if it is not good, and the update's norm.

    It uses a condition instead of a choice value by value, which would write all of them twice. On GPUs the host would
    wait for the condition in each step, and so dispatch no step ahead: there the values are chosen.
    """

    def applied() -> tuple[Any, optax.OptState, Array]:
        updates, opt_state = parts.optimizer.update(grads, state.opt_state, state.params)
        updates = scaled(updates, parts.factors)
        norm = rate * global_norm(updates)
        updates = jax.tree.map(lambda u: u * rate.astype(u.dtype), updates)
        return optax.apply_updates(state.params, updates), opt_state, norm

    unchanged = state.params, state.opt_state, jnp.zeros_like(state.guard["update_norm"])

    def by_condition() -> tuple[Any, optax.OptState, Array]:
        return lax.cond(good, applied, lambda: unchanged)

    def by_value() -> tuple[Any, optax.OptState, Array]:
        return guard.where(good, applied(), unchanged)

    return lax.platform_dependent(cuda=by_value, rocm=by_value, default=by_condition)


def _next_metrics(metrics: Any, log_probs: dict[str, Array], labels: dict[str, Array]) -> Any:
    """Adds this batch to the epoch's sums."""
    return {
        level: accumulate(metrics[level], losses=cross_entropy(x, labels[level]), log_probs=x, labels=labels[level])
        for level, x in log_probs.items()
    }
