"""Finds what a user should know of the data and of the config before a run trains."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from fashion_jax.config.combinations import trunk_paths
from fashion_jax.data.dataset import Dataset, Split
from fashion_jax.data.fields import DataFields
from fashion_jax.data.findings import count_notes, left_out_note, unpredictable
from fashion_jax.data.fingerprint import count_common
from fashion_jax.data.records.prepared_use import misuse, unlike_photos
from fashion_jax.errors import UserError
from fashion_jax.models.pretrained.source import is_weights
from fashion_jax.step.program import Program
from fashion_jax.training.dispatch import steps_at_once
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
    for source in dict.fromkeys(sources):
        count = 0
        if source and not is_weights(source):
            with contextlib.suppress(UserError):  # a run that has begun needs its source no more
                count = count_trained_on(Path(source).expanduser(), validation)
        if count:
            yield (
                f"this run begins with weights of the run {source}, which was trained on {count:,} of the "
                f"{len(validation):,} validation images, so that the scores of this run are too high: give both runs "
                "the same split, for example by a column or files in data.splits"
            )


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


def slow_trunks(program: Program) -> Iterator[str]:
    """Yields which trunks learn slowly although they have learned nothing before."""
    model, params = program.config.model, program.abstract_state.params
    for name, path in trunk_paths(model.name).items():
        factor = program.factors.slowest(params, path)
        if factor < 1 and name not in model.init_from:
            yield (
                f"the trunk {name} begins untrained, but parts of it have only {factor:g} times the learning rate: "
                f"name its weights in model.init_from.{name}, or set learning_rate_factors to {{}} and layer_decay to 1"
            )
