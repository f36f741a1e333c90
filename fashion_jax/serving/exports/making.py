"""Makes an export of a run: writes it, loads it as a user would, and compares its answers with those of the run."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

import fashion_jax
from fashion_jax.atomic import write_text
from fashion_jax.command_line import Overrides
from fashion_jax.command_line.formats import percent, rate
from fashion_jax.command_line.output_files import folder_of_flag
from fashion_jax.config.loading import (
    config_to_json,
    load_run_config,
    names_other_images,
    portable_config,
    read_config,
    ways_to_predict,
)
from fashion_jax.errors import UserError
from fashion_jax.scoring.intervals import paired_test
from fashion_jax.scoring.tree_decoding import DEFAULT_DECODE
from fashion_jax.serving.calibration_notes import no_calibration_note
from fashion_jax.serving.engine import RunEngine
from fashion_jax.serving.exports import tflite
from fashion_jax.serving.exports.card import card
from fashion_jax.serving.exports.check import Differences, compare, live_outputs
from fashion_jax.serving.exports.check_images import SPLIT, CheckImages, find_check_images, spread
from fashion_jax.serving.exports.engines import format_module, load_engine
from fashion_jax.serving.exports.facts import facts_of
from fashion_jax.serving.exports.folder import (
    CARD,
    COMPARED_IMAGES,
    OLD_CARD,
    Export,
    read_export,
    seal,
    write_test_vectors,
    writing_export,
)
from fashion_jax.serving.exports.network import build_network
from fashion_jax.serving.exports.plan import ExportPlan
from fashion_jax.step.program import create_program
from fashion_jax.taxonomy import UNKNOWN
from fashion_jax.terminal import Terminal, doing
from fashion_jax.workdir.calibration_file import read_calibration
from fashion_jax.workdir.files import read_taxonomy, read_train_counts
from fashion_jax.workdir.paths import CONFIG, TAXONOMY, config_path
from fashion_jax.workdir.trained import Trained, load_trained

_CALIBRATION = 256  # images that the ranges of 8-bit integers are taken from


def export_run(flags: argparse.Namespace, overrides: Overrides) -> None:
    """Exports a run, and prints how the export compares with it.

    Args:
        flags: of the export command, checked.
        overrides: of fields of the run's config.

    Raises:
        UserError: the run, the images or the folder of the export cannot be used.
        RunError: none of the run's checkpoints can be used, or the export does not answer as the run does.
    """
    folder = Path(os.path.realpath(flags.output)).parent
    with folder_of_flag("--output", folder, named=flags.output):  # before anything that takes long
        _export(flags, overrides)


def _export(flags: argparse.Namespace, overrides: Overrides) -> None:
    path = config_path(flags.workdir)
    config, otherwise = load_run_config(path, overrides), ways_to_predict(path, overrides)
    taxonomy = read_taxonomy(flags.workdir)
    is_data_named = names_other_images(overrides)
    images = find_check_images(
        flags.workdir, config, taxonomy, COMPARED_IMAGES, flags.images, is_data_named=is_data_named
    )
    if flags.int8:
        _check_calibration_images(images)
    with doing("Loading the model"):
        trained = load_trained(flags.workdir, flags.checkpoint, overrides)
    calibration = read_calibration(flags.workdir, taxonomy)  # now, since a training that goes on writes it anew
    plan = ExportPlan(trained, calibration, otherwise, flags.format, flags.int8, images)
    say = Terminal().say
    for sentence in make_export(plan, flags.output):
        say(sentence)
    size = sum(x.stat().st_size for x in flags.output.rglob("*") if x.is_file())
    say(f"{flags.output}: {flags.format}, {size / 1e6:,.1f} MB. card.md says how to use it.")


def _check_calibration_images(images: CheckImages) -> None:
    """Raises a UserError if no image of the validation split is there to take the ranges of 8-bit integers from."""
    if not len(images.validation):
        raise UserError(
            "--int8 takes its ranges from images of the run's validation split: name them by --config.data.path=..., "
            f"or leave --int8 out. {images.why_not}"
        )


def make_export(plan: ExportPlan, directory: Path) -> list[str]:
    """Makes an export, and returns sentences on its temperatures and on how it compares with the run.

    The folder appears when all is done and right; an earlier export in its place stays until then.

    Args:
        plan: what is exported.
        directory: new, empty, or that of an earlier export.

    Raises:
        UserError: something else is in the directory, or it cannot be written.
        RunError: the export does not answer as the run does.
    """
    trained = plan.trained
    live = RunEngine(in_float32(trained), None, plan.temperatures)
    with writing_export(directory) as folder:
        with doing("Writing the model"):
            network = build_network(trained, plan.temperatures)
            if plan.int8:
                validation = plan.images.validation
                tflite.write(network, folder, validation[spread(len(validation), _CALIBRATION)])
            else:
                format_module(plan.format).write(network, folder)
        write_text(folder / TAXONOMY, trained.taxonomy.to_json())
        write_text(folder / CONFIG, config_to_json(portable_config(trained.config, trained.canvas)))
        with jax.default_matmul_precision("highest"):  # otherwise GPUs and TPUs compute in less than float32
            vectors = plan.images.canvases[plan.vectors]
            write_test_vectors(folder, vectors, live_outputs(live, vectors))
            seal(folder, _description(plan, network.num_features))
            differences = _compared(folder, live, plan.images.canvases)
        if not plan.int8:
            differences.check()
        compared, cost = _compared_words(plan, differences), _cost_words(plan, differences)
        write_text(folder / CARD, card(read_export(folder), trained.taxonomy, facts_of(plan, compared, cost)))
        seal(folder, _description(plan, network.num_features))
        read_export(folder)
    return [*_calibration_words(plan), *compared, *_fallback_words(plan), *cost, *_old_card_words(directory)]


def _calibration_words(plan: ExportPlan) -> list[str]:
    """Says how the probabilities are calibrated if they are not, or not by their own predictions."""
    return plan.other_temperatures if plan.calibration else [no_calibration_note(str(plan.trained.workdir))]


def _fallback_words(plan: ExportPlan) -> list[str]:
    """Says why no image of the validation split was compared, with the places of the data, which no card names."""
    why = plan.images.why_not
    return [f"The run's validation split, on which it would have been compared, cannot be used: {why}"] if why else []


def _old_card_words(directory: Path) -> list[str]:
    """Says that a card which was completed lies beside the new one, if it does."""
    old = directory / OLD_CARD
    if not os.path.lexists(old):
        return []
    return [f"{old} is the card that had been completed: take over into {CARD} what still holds, and remove it."]


def in_float32(trained: Trained) -> Trained:
    """Returns a run that computes in float32, as its export does, whatever its dtype."""
    if trained.config.dtype == "float32":
        return trained
    config = read_config(config_to_json(trained.config), "The config of the run")
    config.dtype = "float32"
    counts = read_train_counts(trained.workdir, trained.taxonomy) if config.rare_classes.post_hoc else None
    program = create_program(config, trained.taxonomy, trained.mesh, counts=counts)
    return dataclasses.replace(trained, program=program, eval_fn=program.eval_step)


def _description(plan: ExportPlan, num_features: int) -> Export:
    trained = plan.trained
    counts = read_train_counts(trained.workdir, trained.taxonomy)
    return Export(
        format=plan.format,
        fashion_jax=fashion_jax.__version__,
        int8=plan.int8,
        canvas=trained.canvas,
        resize=trained.config.data.resize,
        decode=DEFAULT_DECODE,
        levels=trained.taxonomy.levels,
        features=num_features,
        step=trained.step,
        batch_size=trained.batch_size(),
        parameters=trained.num_parameters,
        flops_per_image=trained.flops_per_image(),
        train_counts={level: tuple(x.tolist()) for level, x in counts.items()},
        calibrated=plan.is_calibrated,
        calibration_note=" ".join(plan.other_temperatures),
    )


def _compared(folder: Path, live: RunEngine, canvases: np.ndarray) -> Differences:
    """Compares the export in a folder, loaded from there, with the live model."""
    export = load_engine(folder)

    def batches() -> Iterator[np.ndarray]:
        for start in range(0, len(canvases), live.batch_size):
            yield canvases[start : start + live.batch_size]

    with doing("Comparing with the run", len(canvases), "images") as task:
        return compare(export, live, batches(), task.reached)


def _compared_words(plan: ExportPlan, found: Differences) -> list[str]:
    """Says how far the answers of the export are from those of the run, and how fast both are."""
    same = "all paths are the same" if not found.paths else f"{found.paths:,} images have another path"
    if found.paths and not found.sure_paths:
        same += ", where the two likeliest differ by less than 0.001"
    sentences = [
        f"On {found.images:,} images ({plan.images.words()}), its probabilities differ by at most "
        f"{found.probability:.1g} from the run's; {same}.",
        f"Images per second here: {rate(found.export_rate)}; by the run itself, {rate(found.live_rate)}.",
    ]
    if plan.images.trained_on and not plan.int8:  # otherwise the sentences on what that costs say it
        sentences.append(f"{_trained_on_words(plan)}.")
    if plan.dtype != "float32":
        sentences.append(f"It computes in float32, and was compared with the run in float32, not {plan.dtype}.")
    return sentences


def _cost_words(plan: ExportPlan, found: Differences) -> list[str]:
    """Says what 8-bit integers cost in accuracy on images of the validation split; nothing for float32."""
    if not plan.int8:
        return []
    if all((labels == UNKNOWN).all() for labels in plan.images.labels.values()):
        return [_no_labels_words(plan)]
    sentences = [_level_words(plan, found, level) for level in plan.trained.taxonomy.levels]
    if plan.images.trained_on:
        sentences.append(f"{_trained_on_words(plan)}, so that both accuracies are higher than those of new images.")
    return sentences


def _level_words(plan: ExportPlan, found: Differences, level: str) -> str:
    """Says what 8-bit integers cost in accuracy at a level."""
    labels, i = plan.images.labels[level], plan.trained.taxonomy.levels.index(level)
    known = labels != UNKNOWN
    if not known.any():
        return f"The accuracy of {level} was not measured, as none of the validation images has a known label of it."
    live, export = ((x[: len(labels), i] == labels)[known] for x in (found.live_paths, found.export_paths))
    test = paired_test(live, export)
    low, high = test["interval"]  # type: ignore[misc]  # the one entry that is a pair
    return (
        f"Accuracy of {level} on the likeliest paths of {len(live):,} validation images: {percent(export.mean())} "
        f"with 8-bit integers, {percent(live.mean())} without "
        f"({100 * test['difference']:+.2f} points, 95 % interval "
        f"{100 * low:+.2f} to {100 * high:+.2f})."
    )


def _no_labels_words(plan: ExportPlan) -> str:
    taxonomy = plan.trained.taxonomy
    known = ", ".join(taxonomy.classes[taxonomy.levels[0]][:3])
    return (
        f"What 8-bit integers cost in accuracy was not measured, as no image of the split {SPLIT!r} that was compared "
        f"has a label that the run knows, such as {known}: check data.levels and the names of the classes."
    )


def _trained_on_words(plan: ExportPlan) -> str:
    """Says on how many of the images of the validation split the run was trained; without a full stop."""
    count, of = plan.images.trained_on, len(plan.images.validation)
    return f"{count:,} of these {of:,} images of the {SPLIT} split {'was' if count == 1 else 'were'} trained on"
