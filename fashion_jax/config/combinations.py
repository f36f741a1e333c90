"""Checks of config fields that depend on one another, and facts that follow from several fields."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from fashion_jax.config.architectures import VGGS
from fashion_jax.config.fields import (
    DEFAULT_SPLITS,
    MEAN,
    STD,
    are_fractions,
    shape_of,
    split_column,
    wrong_split_names,
)
from fashion_jax.errors import UserError

# Of each level, in every line of metrics.jsonl -> its title for people.
METRIC_TITLES = {"loss": "loss", "accuracy": "accuracy", "macro_f1": "macro-F1", "auroc": "AUROC"}
LEVEL_METRICS = tuple(METRIC_TITLES)
_HYBRID_TRUNKS = ("resnet34", "vgg16")


def check_combinations(config: ConfigDict) -> None:
    """Checks fields that depend on one another.

    Raises:
        UserError: names the first field that does not fit another one, both values, and the way out.
    """
    _check_levels(config)
    _check_model(config)
    _check_rare_classes(config)
    _check_sizes(config)
    _check_source(config.data)
    _check_effects(config)


def check_new_run(config: ConfigDict) -> None:
    """Checks what must hold for a run that begins now; runs that earlier versions have begun may go on without it.

    Raises:
        UserError: a field would have no effect, or the wrong one.
    """
    heads, splits = head_names(config), config.data.splits
    if isinstance(splits, Mapping) and (wrong := wrong_split_names(splits)):
        raise UserError(f"data.splits is {splits!r}, but must be {wrong}.")
    check_folds(config.data.folds, splits)
    for level in config.loss_weights:
        if not loss_weights(config).get(level, 1) and not config.model.init_heads_from:
            others = {other: head for other, head in heads.items() if other != level}
            way_out = f"give it no head, by model.heads={others}, or" if level != [*heads][-1] else "give it"
            raise UserError(
                f"loss_weights.{level} is 0, so that its head would stay as it was drawn, but predictions would use "
                f"it: {way_out} a weight above 0."
            )
    for level in config.label_smoothing:
        if level not in heads:
            raise UserError(f"label_smoothing has {level!r}, but model.heads gives it no head: take it out.")
    if config.rare_classes.beta != 0.999 and "effective" not in config.rare_classes.weights.values():
        raise UserError(
            f"rare_classes.beta is {config.rare_classes.beta}, but no level of rare_classes.weights is effective: set "
            "one."
        )
    if (together := config.steps_per_dispatch) > (every := config.checkpoint.every_steps):
        raise UserError(
            f"steps_per_dispatch is {together}, but checkpoint.every_steps is {every}, and no dispatch spans a "
            f"checkpoint: lower steps_per_dispatch, or raise checkpoint.every_steps to at least {together}."
        )
    if not config.time_limit:
        schedule = config.schedule, config.schedule_per, config.warmup_epochs
        check_fewest_epochs(config.num_epochs, *schedule, way_out="set schedule_per to step, or num_epochs to")


def check_fewest_epochs(
    num_epochs: int, schedule: str, schedule_per: str, warmup_epochs: float, *, way_out: str
) -> None:
    """Checks that a run that begins, or is resumed with another num_epochs, has the epochs that its schedule needs.

    Args:
        num_epochs: the field.
        schedule: the field.
        schedule_per: the field.
        warmup_epochs: the field.
        way_out: the end of the sentence, up to the number of epochs.

    Raises:
        UserError: it has fewer.
    """
    fewest = fewest_epochs(schedule, schedule_per, warmup_epochs)
    if num_epochs < fewest:
        raise UserError(
            f"num_epochs is {num_epochs}, but the last epoch of {schedule} has hardly any learning rate if "
            f"schedule_per is {schedule_per}: {way_out} {fewest}."
        )


def best_metric(config: ConfigDict) -> str:
    """Returns the metric of metrics.jsonl by which the best checkpoint is chosen."""
    return config.checkpoint.best or f"validation/{list(config.data.levels)[-1]}/macro_f1"


def comparable_in_training(
    levels: Sequence[str], draw: Mapping[str, str], *, condition_on_parent: bool
) -> Sequence[str]:
    """Returns the levels whose scores on training images can be compared with those on validation images.

    Args:
        levels: from coarse to fine.
        draw: the field rare_classes.draw, by which training draws some images more often than others.
        condition_on_parent: the field model.condition_on_parent, by which the heads in training know the true parent.
    """
    if draw:
        return ()
    return levels[:1] if condition_on_parent else levels


def trunk_names(model_name: str) -> tuple[str, ...]:
    """Returns the names of the trunks of the model that model.name names."""
    return _HYBRID_TRUNKS if model_name == "hybrid" else (model_name,)


def normalization(tables: Mapping[str, Any], trunk: str) -> dict[str, Any]:
    """Returns mean and std of the pixels of a trunk, by model.normalization: those of ImageNet unless it has others."""
    return tables.get(trunk, {"mean": MEAN, "std": STD})


def trunk_paths(model_name: str) -> dict[str, tuple[str, ...]]:
    """Returns name of each trunk in the model that model.name names -> path of its parameters and statistics."""
    return {name: ("trunk", name) if name != model_name else ("trunk",) for name in trunk_names(model_name)}


def loss_weights(config: ConfigDict) -> dict[str, float]:
    """Returns level -> weight of its loss in the total loss, for the levels that are trained."""
    return {level: config.loss_weights.get(level, 1.0) for level in head_names(config)}


def batch_unit(accumulate: int, batch_norm: str, group_size: int, num_devices: int = 1) -> int:
    """Returns the number of images of which batch_size has to be a multiple.

    Args:
        accumulate: as in the config.
        batch_norm: as in the config.
        group_size: batch_norm_group_size of the config.
        num_devices: over which a batch, or each part of it, is spread evenly.
    """
    together = {"group": group_size, "local": 2 * num_devices}  # images whose statistics BatchNorm takes, at least two
    return accumulate * math.lcm(num_devices, together.get(batch_norm, 2 if accumulate > 1 else 1))


def fewest_epochs(schedule: str, schedule_per: str, warmup_epochs: float) -> int:
    """Returns the epochs in which a schedule of the learning rate has its highest value, and one after it.

    The last value of a one-cycle schedule is nearly 0: changed once per epoch, it needs one more to have a fall.
    """
    return math.floor(warmup_epochs) + (2 if schedule == "one_cycle" and schedule_per == "epoch" else 1)


def _check_levels(config: ConfigDict) -> None:
    levels, heads = list(config.data.levels), config.model.heads
    rare = [(f"rare_classes.{name}", config.rare_classes[name]) for name in ("weights", "loss", "post_hoc", "draw")]
    tables = [(field, config[field]) for field in ("loss_weights", "label_smoothing")]
    for field, table in (("model.heads", heads), *tables, *rare):
        for level in table:
            if level not in levels:
                raise UserError(
                    f"{field} names the level {level!r}, but data.levels has only {', '.join(levels)}: take it out, or "
                    "rename it."
                )
    if heads and levels[-1] not in heads:
        raise UserError(
            f"model.heads must have the finest level, {levels[-1]!r}: add it, or take it out of data.levels."
        )
    for level, weight in config.loss_weights.items():
        if heads and level not in heads and weight:
            raise UserError(f"loss_weights has {level!r}, but model.heads gives it no head: take it out.")
    if not any(config.loss_weights.get(level, 1) for level in heads or levels):
        raise UserError(
            f"loss_weights is {config.loss_weights!r}, which trains nothing: give a level a weight above 0."
        )
    known = ["validation/loss", *(f"validation/{level}/{m}" for level in levels for m in LEVEL_METRICS)]
    for field, metric in (
        ("checkpoint.best", best_metric(config)),
        ("early_stopping.metric", config.early_stopping.get("metric", known[0])),
    ):
        if metric not in known:
            raise UserError(f"{field} is {metric!r}, but must be one of {', '.join(known)}.")


def _check_model(config: ConfigDict) -> None:
    model, levels = config.model, list(config.data.levels)
    for field in ("init_from", "normalization", "frozen"):
        for name in model[field]:
            if name not in trunk_names(model.name):
                raise UserError(
                    f"model.{field} has {name!r}, but the model {model.name!r} is made of "
                    f"{' and '.join(trunk_names(model.name))}: take it out."
                )
    for name in model.frozen:
        if name not in model.init_from:
            raise UserError(
                f"model.frozen has {name!r}, which would stay as it was drawn: name the run that has trained it in "
                f"model.init_from.{name}."
            )
    if not model.condition_on_parent:
        return
    if len(levels) < 2:
        raise UserError(
            f"model.condition_on_parent is True, but {levels[0]!r}, the only level, has no parent: set it to False."
        )
    for level in levels if model.heads else ():
        if level not in model.heads:
            raise UserError(f"model.condition_on_parent is True, but model.heads gives {level!r} no head: add one.")


def _check_rare_classes(config: ConfigDict) -> None:
    heads, chosen = config.model.heads, config.rare_classes
    shifting = [name for name in ("loss", "post_hoc") if chosen[name]]
    for name in ("weights", *shifting):
        for level in chosen[name]:
            if heads and level not in heads:
                raise UserError(f"rare_classes.{name} has {level!r}, but model.heads gives it no head: take it out.")
    for name in shifting:
        for level in chosen[name]:
            if others := [other for other in ("weights", *shifting) if other != name and level in chosen[other]]:
                raise UserError(
                    f"rare_classes.{name} and rare_classes.{others[0]} both have {level!r}, "
                    "and would favor its rare classes twice: take it out of one."
                )
    if len(chosen.draw) > 1:
        raise UserError(f"rare_classes.draw has {', '.join(chosen.draw)}, but images are drawn by one level: name one.")
    if chosen.draw and (others := [name for name in ("weights", *shifting) if chosen[name]]):
        raise UserError(
            f"rare_classes.draw and rare_classes.{others[0]} would favor rare classes twice: take one of them out."
        )


def _check_sizes(config: ConfigDict) -> None:
    size, canvas = shape_of(config.image_size), shape_of(config.data.canvas_size)
    if config.data.canvas_size and any(c < s for c, s in zip(canvas, size, strict=True)):
        raise UserError(f"data.canvas_size is {list(canvas)}, but must not be smaller than image_size, {list(size)}.")
    _check_progressive(config.progressive, config.image_size, config.num_epochs, config.time_limit)
    if config.batch_norm == "group" and config.batch_size % config.batch_norm_group_size:
        raise UserError(
            f"batch_size is {config.batch_size}, but must be a multiple of batch_norm_group_size, "
            f"{config.batch_norm_group_size}, if batch_norm is group."
        )
    unit = batch_unit(config.accumulate, config.batch_norm, config.batch_norm_group_size)
    if config.accumulate > 1 and config.batch_size % unit:
        raise UserError(
            f"accumulate is {config.accumulate}, but batch_size, {config.batch_size}, must be a multiple of it, "
            f"and a part a multiple of {unit // config.accumulate} images."
        )
    warmup = config.warmup_epochs
    if warmup >= config.num_epochs and not config.time_limit:  # which chooses more epochs than that
        raise UserError(f"warmup_epochs is {warmup:g}, but must be below num_epochs, {config.num_epochs}: lower it.")
    if config.schedule_per == "epoch" and warmup != int(warmup):
        raise UserError(
            f"warmup_epochs is {warmup:g}, but schedule_per is epoch: set schedule_per to step, or name a whole number."
        )
    if config.remat == "blocks" and config.model.name in VGGS:
        raise UserError(f"remat is 'blocks', but {config.model.name} has none: set it to dots.")


def _check_progressive(progressive: Mapping[str, Any], image_size: Any, num_epochs: int, time_limit: str) -> None:
    epochs, size = progressive["epochs"], progressive["image_size"]
    if not epochs:
        if size != 32:
            raise UserError(
                f"progressive.image_size is {size}, but no epoch has it: set progressive.epochs, or set "
                "progressive.image_size back to its default, 32."
            )
        return
    if time_limit:
        raise UserError(
            f"progressive.epochs is {epochs}, but time_limit chooses one image size for all epochs: set "
            "progressive.epochs to 0 and progressive.image_size to 32, or leave time_limit empty."
        )
    small, whole = shape_of(size), shape_of(image_size)
    if small == whole or any(s > w for s, w in zip(small, whole, strict=True)):
        raise UserError(f"progressive.image_size is {size}, but must be smaller than image_size, {image_size}.")
    if epochs >= num_epochs:
        raise UserError(
            f"progressive.epochs is {epochs}, but must be below num_epochs, {num_epochs}: raise num_epochs, or "
            "lower it in a new run."
        )


def _check_source(data: ConfigDict) -> None:
    if data.source in ("csv", "folder") and not data.path:
        raise UserError("data.path is empty: name the folder of the images (and their table).")
    if data.source == "tfds" and not data.path and not data.tfds:
        raise UserError("data.tfds is empty: name a set of TFDS, or the folder of one in data.path.")
    if data.fold and not data.folds:
        raise UserError(
            f"data.fold is {data.fold}, but data.folds is 0: set data.folds to the number of parts, or data.fold to 0."
        )
    if data.folds and data.fold >= data.folds:
        raise UserError(f"data.fold is {data.fold}, but must be below data.folds, {data.folds}: the first is 0.")
    if data.folds and not are_fractions(data.splits) and data.source != "catalogue":
        raise UserError(
            f"data.folds is {data.folds}, but data.splits is {data.splits!r}: set it to fractions, or data.folds to 0."
        )
    if data.source == "folder" and data.group_column:
        raise UserError(f"data.group_column is {data.group_column!r}, but a folder has no columns: leave it empty.")
    if data.source == "folder" and split_column(data.splits):
        raise UserError(
            f"data.splits is {data.splits!r}, but a folder has no columns: name files or folders, or fractions."
        )
    if data.rare_classes == "merge" and data.taxonomy:
        raise UserError("data.rare_classes is 'merge', but data.taxonomy fixes the classes: leave one of them out.")


def check_folds(folds: int, splits: Any) -> None:
    """Checks that data.splits keeps no images out of the folds, which are made of all of them.

    Args:
        folds: the field data.folds.
        splits: the field data.splits.

    Raises:
        UserError: it names other splits, or fractions of less than all images.
    """
    if not folds or not are_fractions(splits):
        return
    if set(splits) != {"train", "validation"} or sum(splits.values()) < 1 - 1e-9:
        raise UserError(
            f"data.folds is {folds}, which divides all images into train and validation, but data.splits, {splits!r}, "
            f"keeps some out: set it to {DEFAULT_SPLITS!r}, or data.folds to 0."
        )


def _check_effects(config: ConfigDict) -> None:
    """Checks that no field is set that another field makes ineffective."""
    data, rare = config.data, config.rare_classes
    if data.rare_classes == "merge" and data.min_images_per_class == 1:
        raise UserError(
            "data.rare_classes is 'merge', but with data.min_images_per_class = 1 no class is rare: set how many "
            "training images a class must have."
        )
    if data.drop_leaks and data.source == "tfds":
        raise UserError(
            "data.drop_leaks is True, but the records of a TFDS set are not compared: set it to False, or set it "
            "when preparing the images from their files."
        )
    if config.model.fusion != "concatenate" and config.model.name != "hybrid":
        raise UserError(
            f"model.fusion is {config.model.fusion!r}, but model.name is {config.model.name!r}: only hybrid fuses."
        )
    if config.schedule != "exponential" and config.learning_rate_decay != 0.9:
        raise UserError(
            f"learning_rate_decay is {config.learning_rate_decay}, but schedule is {config.schedule}: set it to "
            "exponential."
        )
    if config.optimizer == "sgd" and config.adam_beta2 != 0.999:
        raise UserError(
            f"adam_beta2 is {config.adam_beta2}, but optimizer is sgd, which has none: set optimizer to adamw or muon."
        )
    if config.optimizer != "sgd" and config.momentum == 1:
        raise UserError(f"momentum is 1, but optimizer is {config.optimizer}, whose averages need less: set it to 0.9.")
    if rare.tau != 1.0 and "logit_adjustment" not in rare.loss.values():
        raise UserError(
            f"rare_classes.tau is {rare.tau}, but no level of rare_classes.loss has logit_adjustment: set one."
        )


def head_names(config: ConfigDict) -> dict[str, str]:
    """Returns level -> name of its head, for the levels that have one, coarse to fine."""
    levels = list(config.data.levels)
    if not config.model.heads:
        return {level: "main" if i == 0 else "sub" for i, level in enumerate(levels)}
    return {level: config.model.heads[level] for level in levels if level in config.model.heads}
