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
    image_shape,
    load_run_config,
    portable_config,
    read_config,
    ways_to_predict,
)
from fashion_jax.errors import UserError
from fashion_jax.scoring.assessment import assess
from fashion_jax.scoring.intervals import paired_test
from fashion_jax.scoring.temperature import apply_temperatures
from fashion_jax.scoring.tree_decoding import DEFAULT_DECODE, decode
from fashion_jax.serving.engine import RunEngine
from fashion_jax.serving.exports import tflite
from fashion_jax.serving.exports.card import Facts, card
from fashion_jax.serving.exports.check import Differences, compare, live_outputs
from fashion_jax.serving.exports.check_images import SPLIT, CheckImages, find_check_images, spread
from fashion_jax.serving.exports.engines import format_module, load_engine
from fashion_jax.serving.exports.folder import (
    CARD,
    COMPARED_IMAGES,
    Export,
    read_export,
    seal,
    write_test_vectors,
    writing_export,
)
from fashion_jax.serving.exports.network import build_network
from fashion_jax.step.program import create_program
from fashion_jax.taxonomy import UNKNOWN
from fashion_jax.terminal import Terminal, doing
from fashion_jax.workdir.calibration_file import RunCalibration, read_calibration
from fashion_jax.workdir.files import read_json, read_taxonomy, read_train_counts, train_counts
from fashion_jax.workdir.paths import CONFIG, TAXONOMY, config_path, data_path, predictions_path
from fashion_jax.workdir.predictions import read_predictions
from fashion_jax.workdir.trained import Trained, load_trained

_VECTORS = 16  # images of test_vectors.npz
_CALIBRATION = 256  # images that the ranges of 8-bit integers are taken from


@dataclasses.dataclass(frozen=True)
class ExportPlan:
    """What is exported, and how.

    Attributes:
        trained: the checkpoint.
        calibration: of the run; None if it has none.
        otherwise: config fields by which the export predicts differently from the run's validation.
        format: one of MODELS.
        int8: whether it computes in 8-bit integers.
        images: to compare it on.
    """

    trained: Trained
    calibration: RunCalibration | None
    otherwise: list[str]
    format: str
    int8: bool
    images: CheckImages


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
    calibration = read_calibration(flags.workdir, taxonomy)
    images = find_check_images(config, taxonomy, COMPARED_IMAGES, flags.images)
    if flags.int8:
        _check_calibration_images(images)
    with doing("Loading the model"):
        trained = load_trained(flags.workdir, flags.checkpoint, overrides)
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
    """Makes an export, and returns sentences on how it compares with the run.

    The folder appears when all is done and right; an earlier export in its place stays until then.

    Args:
        plan: what is exported.
        directory: new, empty, or that of an earlier export.

    Raises:
        UserError: something else is in the directory, or it cannot be written.
        RunError: the export does not answer as the run does.
    """
    trained = plan.trained
    temperatures = plan.calibration.temperatures if plan.calibration else {}
    live = RunEngine(in_float32(trained), None, temperatures)
    with writing_export(directory) as folder:
        with doing("Writing the model"):
            network = build_network(trained, temperatures)
            if plan.int8:
                validation = plan.images.validation
                tflite.write(network, folder, validation[spread(len(validation), _CALIBRATION)])
            else:
                format_module(plan.format).write(network, folder)
        write_text(folder / TAXONOMY, trained.taxonomy.to_json())
        write_text(folder / CONFIG, config_to_json(portable_config(trained.config, trained.canvas)))
        with jax.default_matmul_precision("highest"):  # otherwise GPUs and TPUs compute in less than float32
            vectors = plan.images.canvases[:_VECTORS]
            write_test_vectors(folder, vectors, live_outputs(live, vectors))
            seal(folder, _description(plan, network.num_features))
            differences = _compared(folder, live, plan.images.canvases)
        if not plan.int8:
            differences.check()
        compared, cost = _compared_words(plan, differences), _cost_words(plan, differences)
        write_text(folder / CARD, card(read_export(folder), trained.taxonomy, _facts(plan, compared, cost)))
        seal(folder, _description(plan, network.num_features))
        read_export(folder)
    return [*compared, *cost]


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
        calibrated=plan.calibration is not None,
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
        f"On {found.images:,} images ({plan.images.words}), its probabilities differ by at most "
        f"{found.probability:.1g} from the run's; {same}.",
        f"Images per second here: {rate(found.export_rate)}; by the run itself, {rate(found.live_rate)}.",
    ]
    if plan.trained.config.dtype != "float32":
        sentences.append(f"It computes in float32, and was compared with the run in float32, not {_dtype(plan)}.")
    return sentences


def _dtype(plan: ExportPlan) -> str:
    return str(plan.trained.config.dtype)


def _cost_words(plan: ExportPlan, found: Differences) -> list[str]:
    """Says what 8-bit integers cost in accuracy on images of the validation split; nothing for float32."""
    if not plan.int8:
        return []
    sentences = []
    for i, (level, labels) in enumerate(plan.images.labels.items()):
        known = labels != UNKNOWN
        paths = (found.live_paths, found.export_paths)
        live, export = ((x[: len(labels), i] == labels)[known] for x in paths)
        if not known.any():
            continue
        test = paired_test(live, export)
        low, high = test["interval"]  # type: ignore[misc]  # the one entry that is a pair
        sentences.append(
            f"Accuracy of {level} on the likeliest paths of {len(live):,} validation images: {percent(export.mean())} "
            f"with 8-bit integers, {percent(live.mean())} without "
            f"({100 * test['difference']:+.2f} points, 95 % interval "
            f"{100 * low:+.2f} to {100 * high:+.2f})."
        )
    return sentences


def _facts(plan: ExportPlan, compared: list[str], cost: list[str]) -> Facts:
    """Collects what the card says about the run."""
    trained = plan.trained
    taxonomy = trained.taxonomy
    data = read_json(data_path(trained.workdir))
    validation = train_counts(data, taxonomy, SPLIT)
    path = predictions_path(trained.workdir)
    assessment, assessed, notes = None, 0, []
    if path.is_file():
        log_probs, labels = read_predictions(path, taxonomy)
        temperatures = plan.calibration.temperatures if plan.calibration else {}
        decoded = decode(apply_temperatures(log_probs, temperatures), taxonomy, DEFAULT_DECODE)
        counts = read_train_counts(trained.workdir, taxonomy)
        assessment = assess(decoded, labels, taxonomy, counts).decoded_by(DEFAULT_DECODE)
        assessed = len(labels[taxonomy.levels[0]])
        notes = _notes(plan)
    else:
        notes = ["The run has no predictions on its validation split."]
    return Facts(
        model=trained.config.model.name,
        image_size=image_shape(trained.config),
        counts={split: int(found["images"]) for split, found in data["splits"].items()},
        validation_counts={level: x.tolist() for level, x in validation.items()},
        assessment=assessment,
        assessed=assessed,
        is_measured=not plan.int8 and not plan.otherwise and not _is_of_another_step(plan),
        notes=notes,
        compared=compared,
        cost=cost,
    )


def _is_of_another_step(plan: ExportPlan) -> bool:
    """Returns whether the run's predictions on its validation split are known to be those of another checkpoint."""
    return plan.calibration is not None and plan.calibration.step != plan.trained.step


def _notes(plan: ExportPlan) -> list[str]:
    """Says how the measured predictions differ from those of the export."""
    if plan.calibration is None:
        notes = ["The probabilities are not calibrated."]
    else:
        notes = ["The temperatures were fitted on the same images."]
    if plan.calibration and _is_of_another_step(plan):
        notes.append(f"These are of the checkpoint of step {plan.calibration.step:,}, not {plan.trained.step:,}.")
    if plan.int8:
        notes.append("They are of the run itself; the comparison below tells what 8-bit integers cost.")
    if plan.otherwise:
        notes.append(f"They were measured with another {', '.join(plan.otherwise)} than the export has.")
    return notes
