"""Finds what a user should know of the data and of the config before a run trains."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from fashion_jax.config.combinations import head_names, trunk_paths
from fashion_jax.config.loading import load_run_config
from fashion_jax.data.dataset import Dataset, Split
from fashion_jax.data.fields import DataFields
from fashion_jax.data.findings import count_notes, left_out_note, unpredictable
from fashion_jax.data.fingerprint import count_common
from fashion_jax.data.records.prepared_use import misuse, unlike_photos
from fashion_jax.errors import UserError
from fashion_jax.models.hybrid import GATE
from fashion_jax.models.pretrained.source import is_weights
from fashion_jax.step.program import Program
from fashion_jax.training.dispatch import steps_at_once
from fashion_jax.training.init_from import others_than
from fashion_jax.workdir.paths import config_path
from fashion_jax.workdir.trained_on import count_trained_on, trained_earlier


def warnings_of(
    dataset: Dataset, data: DataFields, resize: str, canvas: tuple[int, int], heads: Collection[str]
) -> list[str]:
    """Returns sentences, without their full stops, on what may be wrong with the data of a config.

    Args:
        dataset: read with these fields of the data.
        data: the fields.
        resize: data.resize.
        canvas: (height, width) of the decoded images.
        heads: the levels that have one.
    """
    found = [*dataset.warnings, *unpredictable(dataset.taxonomy, heads)]
    return list(dict.fromkeys([*found, *misuse(data, resize), *unlike_photos(data, resize, canvas)]))


def notes_of(dataset: Dataset, left_over: int) -> list[str]:
    """Returns what a user should know of the data before training on it; left_over images fill no batch."""
    train, validation = (dataset.splits[name].class_counts(dataset.taxonomy) for name in ("train", "validation"))
    return [*count_notes(dataset.taxonomy, train, validation, left_over), left_out_note(dataset.left_out)]


def trained_on_before(sources: Iterable[str], validation: Split) -> Iterator[str]:
    """Yields which runs, whose weights a run begins with, were trained on some of its validation images.

    Args:
        sources: the values of model.init_from and model.init_heads_from; what has been removed since is left out.
        validation: the split.
    """
    for source in _with_theirs(sources):
        count = 0
        with contextlib.suppress(UserError, OSError):  # a run that has begun needs its source no more
            count = count_trained_on(Path(source).expanduser(), validation)
        if count:
            yield (
                f"this run begins with weights that go back to the run {source}, which was trained on {count:,} of the "
                f"{len(validation):,} validation images, so that the scores of this run are too high: give both runs "
                "the same split, for example by a column or files in data.splits"
            )


def _with_theirs(sources: Iterable[str]) -> list[str]:
    """Returns those of some sources that are runs, and the runs that these began with, and so on, each once."""
    found, left = [], [*sources]
    while left:
        source = left.pop(0)
        if not source or source in found or is_weights(source):
            continue
        found.append(source)
        with contextlib.suppress(UserError, OSError):
            model = load_run_config(config_path(Path(source).expanduser())).model
            left += [*model.init_from.values(), model.init_heads_from]
    return found


def trained_on_earlier(workdir: Path, dataset: Dataset) -> Iterator[str]:
    """Yields that a run whose data has changed was trained on images that are validation images now."""
    validation, images = dataset.splits["validation"], trained_earlier(workdir, dataset)
    if images is not None and (count := count_common(images, validation)):
        yield (
            f"this run was trained on {count:,} of the {len(validation):,} validation images before its data changed, "
            "so that its validation scores are too high: measure it on other images, or begin another run, with a "
            "column or files in data.splits, which leave images where they are when others come"
        )


def dispatched_singly(together: int, every: int, steps_per_epoch: int) -> str:
    """Returns why steps are dispatched one at a time in spite of steps_per_dispatch; "" if they are not.

    Args:
        together: steps_per_dispatch.
        every: checkpoint.every_steps.
        steps_per_epoch: of the run.
    """
    if steps_at_once(together, every, steps_per_epoch) == together:
        return ""
    steps = f"an epoch has only {steps_per_epoch} step{'' if steps_per_epoch == 1 else 's'}"
    limit = steps if steps_per_epoch < together else f"checkpoint.every_steps is only {every}"
    return f"steps_per_dispatch is {together}, but {limit}, so that each step is dispatched by itself"


def notes_of_weights(program: Program) -> Iterator[str]:
    """Yields which parts of a new run learn slowly or not at all, but have learned nothing before, or not together."""
    model = program.config.model
    source = model.init_heads_from
    others = others_than(source, model.name, model.init_from) if source else []
    yield from _slow_trunks(program)
    if model.fusion == "gated" and (others or not source):  # otherwise the gate is taken over with the trunks
        yield from _slow_gate(program)
    if not source:
        yield from _drawn_heads(program)
    elif others:
        yield (
            f"the heads begin as in {source}, where they have read other features: begin "
            f"{' and '.join(others)} with it too, by "
            + " and ".join(f"model.init_from.{name}={source}" for name in others)
        )


def _slow_trunks(program: Program) -> Iterator[str]:
    """Yields which trunks learn slowly although they have learned nothing before."""
    model, params = program.config.model, program.abstract_state.params
    for name, path in trunk_paths(model.name).items():
        factor = program.factors.slowest(params, path)
        if factor < 1 and name not in model.init_from:
            yield (
                f"the trunk {name} begins untrained, but parts of it have only {factor:g} times the learning rate: "
                f"name its weights in model.init_from.{name}, or set learning_rate_factors to {{}} and layer_decay to 1"
            )


def _slow_gate(program: Program) -> Iterator[str]:
    """Yields that a new gate between two trunks learns slowly."""
    if (factor := program.factors.slowest(program.abstract_state.params, GATE)) < 1:
        yield (
            f"the gate between the trunks begins untrained, but has only {factor:g} times the learning rate: put "
            f"'^{'/'.join(GATE)}/': 1 first in learning_rate_factors"
        )


def _drawn_heads(program: Program) -> Iterator[str]:
    """Yields which heads are frozen as they were drawn."""
    for level in head_names(program.config):
        if program.factors.slowest(program.abstract_state.params, (f"heads_{level}",)) == 0:
            yield (
                f"the head of {level}, or a part of it, is frozen by learning_rate_factors, but begins untrained: take "
                "the factor of 0 out, or name a run in model.init_heads_from"
            )
