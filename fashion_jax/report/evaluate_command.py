"""Measures runs and exports on a split, as the flags of the evaluate command ask, and writes what they name."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fashion_jax.command_line import Overrides
from fashion_jax.command_line.formats import printable
from fashion_jax.command_line.output_files import folder_of_flag, output, write_json
from fashion_jax.config.loading import (
    flatten,
    image_shape,
    load_export_config,
    load_run_config,
    named_cache_dir,
    names_other_images,
    ways_to_predict,
)
from fashion_jax.data.dataset import ALL, check_paths
from fashion_jax.data.fields import data_fields
from fashion_jax.data.sources.split_names import usual_split
from fashion_jax.errors import UserError
from fashion_jax.scoring.temperature import calibrated_levels
from fashion_jax.serving.exports.folder import is_export, read_export
from fashion_jax.serving.sharing import ProcessIndex, check_same, of_all, share_of_images, share_size, shared
from fashion_jax.taxonomy import UNKNOWN, Taxonomy
from fashion_jax.terminal import doing, silent
from fashion_jax.workdir.files import check_has_checkpoint, read_taxonomy
from fashion_jax.workdir.paths import config_path

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from fashion_jax.data.batches.pipeline import Images
    from fashion_jax.data.dataset import Split
    from fashion_jax.scoring.assessment import Assessment
    from fashion_jax.scoring.evaluation import Comparison, Evaluation
    from fashion_jax.serving.exports.evaluated import EvaluatedExport
    from fashion_jax.terminal import Task
    from fashion_jax.workdir.calibration_file import RunCalibration
    from fashion_jax.workdir.trained import Trained

_MANY = 0.05  # share of the measured images that were trained on, from which on the scores mean nothing


def evaluate(flags: argparse.Namespace, overrides: Overrides, arguments: list[str]) -> None:
    """Measures the runs, prints their scores, and writes the files that the flags name.

    Args:
        flags: of the evaluate command, checked.
        overrides: of fields of the runs' configs.
        arguments: of the command, as the page quotes it.

    Raises:
        UserError: a run, a split or an override is wrong, or the data is missing.
        RunError: none of a run's checkpoints can be used.
    """
    with shared(flags, lambda: _models(flags, overrides)) as (place, models):
        if place.count > 1:
            _check_same_command(flags, overrides)
        with silent(not place.leads), folder_of_flag("--report", flags.report if place.leads else None):
            given = zip(models, _splits(models, flags, place), strict=True)
            runs = [_predicted(model, split, flags, overrides, place) for model, split in given]
            if place.leads:
                _measure(runs, flags, overrides, arguments)


class _Model(NamedTuple):
    """A run or an export, before its images are read.

    Attributes:
        workdir: its folder.
        config: with the overrides.
        taxonomy: its classes.
        calibration: from calibration.json, if there is one.
    """

    workdir: Path
    config: ConfigDict
    taxonomy: Taxonomy
    calibration: RunCalibration | None


def _models(flags: argparse.Namespace, overrides: Overrides) -> list[_Model]:
    """Reads what describes the runs, and checks what is quickly checked.

    Raises:
        UserError: a run, a split or a path is wrong.
    """
    from fashion_jax.workdir.calibration_file import read_calibration

    configs = {workdir: _config(workdir, flags, overrides) for workdir in flags.workdir}
    models = []
    for workdir, config in configs.items():
        _check_split(flags.split, config.data.splits)
        check_paths(data_fields(config), flags.split)
        taxonomy = read_taxonomy(workdir)
        calibration = None if is_export(workdir) else read_calibration(workdir, taxonomy)
        models.append(_Model(workdir, config, taxonomy, calibration))
    return models


def _check_same_command(flags: argparse.Namespace, overrides: Overrides) -> None:
    """Checks that all processes predict the same images by the same runs."""
    fields = {f"value of {field}": text for field, text in overrides if field != "data.cache_dir"}
    named = {"number of --workdir": len(flags.workdir), "--split": flags.split, "--checkpoint": flags.checkpoint}
    check_same(named | fields)


def _config(workdir: Path, flags: argparse.Namespace, overrides: Overrides) -> ConfigDict:
    """Returns the config of a run or an export, with the overrides.

    Raises:
        UserError: there is none, it cannot be changed like this, or a flag asks for what only a run has.
    """
    if not is_export(workdir):
        config = load_run_config(config_path(workdir), overrides)
        check_has_checkpoint(workdir)
        return config
    if flags.report:
        raise UserError(f"--report needs the files of a run, but {str(workdir)!r} is an export: leave it out.")
    if flags.checkpoint != "best":
        raise UserError(
            f"--checkpoint is {flags.checkpoint}, but the export {str(workdir)!r} holds only one: leave it out."
        )
    read_export(workdir)  # its files are not parsed before their digests are compared
    return load_export_config(config_path(workdir), overrides)


def _check_split(name: str, splits: str | dict[str, Any]) -> None:
    """Raises a UserError if --split gives a split another of its usual names, such as val."""
    meant = usual_split(name)
    if isinstance(splits, dict) and name not in splits and meant in splits:
        raise UserError(f"There is no split {name!r}; did you mean --split {meant}?")


def _measure(runs: Sequence[_Run], flags: argparse.Namespace, overrides: Overrides, arguments: list[str]) -> None:
    """Measures the runs, prints the results, and writes the files that the flags name."""
    from fashion_jax.report.label_ranking import write_ranking
    from fashion_jax.report.text_tables import result_tables
    from fashion_jax.scoring.seeds import over_seeds
    from fashion_jax.workdir.environment import commit

    with doing("Computing scores and intervals"):
        trained_on = [_trained_on(run, flags, overrides) for run in runs]
        notes = zip(runs, trained_on, strict=True)
        found = [_evaluation(runs[0], run, flags, overrides, note) for run, note in notes]
    measured = zip(runs, found, strict=True)
    for group in over_seeds((flatten(run.config), run.split.ids, x.assessment) for run, x in measured):
        first = group.runs[0]
        found[first] = dataclasses.replace(found[first], over_seeds=group)
    print(result_tables(found))
    if flags.json:
        origin = {"measured_at": commit()}
        write_json(flags.json, _without_nan([origin | evaluation.to_json() for evaluation in found]))
    if flags.label_errors:
        with output(flags.label_errors) as file:
            said = write_ranking(file, runs)
        print(printable(f"{flags.label_errors}: labels by how wrong they look.\n{said}"))
        if note := next(filter(None, trained_on), ""):
            print(f"Note: {note} A model learns the wrong labels of its images: take a split that it was kept from.")
    if flags.report:
        _write_report(runs, found, flags, arguments)


def _write_report(
    runs: Sequence[_Run], evaluations: Sequence[Evaluation], flags: argparse.Namespace, arguments: list[str]
) -> None:
    from fashion_jax.report.folder import evaluated_contents, write_pages
    from fashion_jax.serving.exports.evaluated import EvaluatedExport

    directory, contents = flags.report, []
    command = shlex.join(["python", "-m", "fashion_jax.evaluate", *arguments])
    for run, evaluation in zip(runs, evaluations, strict=True):
        assert not isinstance(run.trained, EvaluatedExport)  # refused by _config
        known = {"temperatures": run.temperatures, "command": command, "thresholds": tuple(flags.shots)}
        contents.append(evaluated_contents(run.trained, run.split, run.log_probs, evaluation, **known))
    with doing("Writing the page"):
        page = write_pages(directory, contents)
    print(printable(f"Report: {page}"))


@dataclasses.dataclass(frozen=True)
class _Run:
    """A run or an export, and its predictions on a split.

    Attributes:
        trained: a checkpoint of the run, or the export.
        config: with the overrides.
        split: the images.
        log_probs: level -> [images, classes].
        calibration: from calibration.json, if there is one.
        seconds: the predictions took, including reading the images.
    """

    trained: Trained | EvaluatedExport
    config: ConfigDict
    split: Split
    log_probs: dict[str, np.ndarray]
    calibration: RunCalibration | None
    seconds: float

    @property
    def images_per_second(self) -> float | None:
        """Returns the speed; None for less than a batch, since that is padded and takes as long as a full one."""
        count = len(self.split)
        return count / max(self.seconds, 1e-9) if count >= self.trained.batch_size() else None

    @property
    def temperatures(self) -> dict[str, float]:
        """Returns the temperatures of calibration.json; empty if there is none."""
        return self.calibration.temperatures if self.calibration else {}

    @functools.cached_property
    def calibrated(self) -> dict[str, Any]:
        """Returns the calibrated log-probabilities; unchanged where there are no temperatures."""
        return calibrated_levels(self.log_probs, self.temperatures)


def _splits(models: Sequence[_Model], flags: argparse.Namespace, place: ProcessIndex) -> list[Split]:
    """Loads the images of all runs, before any run predicts."""
    from fashion_jax.report.label_ranking import check_joinable

    splits = [_split(model, flags.split, place) for model in models]
    if flags.label_errors:
        check_joinable(models, splits)
    return splits


def _split(model: _Model, name: str, place: ProcessIndex) -> Split:
    """Loads the images, which must be the same in all processes.

    Raises:
        UserError: the data is wrong, or has no such split, or no label that the model knows.
    """
    from fashion_jax.data.dataset import load_split
    from fashion_jax.data.fingerprint import split_digests

    taxonomy = model.taxonomy
    split = load_split(model.config, taxonomy, name)
    if all((labels == UNKNOWN).all() for labels in split.labels.values()):
        known = ", ".join(taxonomy.classes[taxonomy.levels[0]][:3])
        raise UserError(
            f"No image of the split {name!r} has a label that {model.workdir} knows, such as {known}: check "
            "data.levels and the names of the classes."
        )
    if place.count > 1:
        check_same({"number of images": len(split)} | split_digests(split.ids, split.labels, None))
    return split


def _predicted(
    model: _Model, split: Split, flags: argparse.Namespace, overrides: Overrides, place: ProcessIndex
) -> _Run:
    from fashion_jax.data.batches.pipeline import open_images
    from fashion_jax.data.tensorflow_cpu import import_tensorflow

    config = model.config
    trained, compiled = _loaded(model.workdir, flags, overrides, place)
    import_tensorflow()  # now, since the seconds that it takes are no part of the speed
    began = time.monotonic()
    mine = split.part(share_of_images(len(split), trained.batch_size(), place))
    with doing(f"Predicting {flags.split}", len(mine), "images") as task:
        log_probs = _log_probs(compiled, open_images(mine, config, image_shape(config), compiled.mesh), mine, task)
    if place.count > 1:
        most = share_size(len(split), trained.batch_size(), place)
        log_probs = {level: of_all(rows, most)[: len(split)] for level, rows in log_probs.items()}
    return _Run(trained, config, split, log_probs, model.calibration, time.monotonic() - began)


def _loaded(
    workdir: Path, flags: argparse.Namespace, overrides: Overrides, place: ProcessIndex
) -> tuple[Trained | EvaluatedExport, Trained | EvaluatedExport]:
    """Returns a run or an export, and the same compiled for its batches; all processes must have the same one."""
    from fashion_jax.serving.exports.evaluated import load_evaluated
    from fashion_jax.serving.model_identity import identify_model
    from fashion_jax.workdir.trained import load_trained

    with doing("Loading and compiling the model"):
        trained: Trained | EvaluatedExport
        if is_export(workdir):
            trained = load_evaluated(workdir, named_cache_dir(overrides))
        else:
            trained = load_trained(workdir, flags.checkpoint, overrides)
        compiled = trained.compiled(trained.batch_size())
    if place.count > 1:
        names = {"export": "digest of export.json"}
        found = identify_model(workdir, trained.step).items()
        model = {names.get(name, f"checkpoint's {name}"): value for name, value in found}
        check_same(model | {"number of images of a batch": trained.batch_size()})
    return trained, compiled


def _log_probs(compiled: Trained | EvaluatedExport, images: Images, split: Split, task: Task) -> dict[str, np.ndarray]:
    """Returns level -> log-probabilities [images, classes]."""
    from fashion_jax.data.batches.pipeline import eval_batches

    size = compiled.batch_size()
    batches = ({"image": batch["image"]} for batch in eval_batches(split, images, size))
    return compiled.log_probs(_counted(batches, size, task.reached), len(split))


def _counted(
    batches: Iterator[dict[str, Any]], batch_size: int, reached: Callable[[int], None]
) -> Iterator[dict[str, Any]]:
    """Yields the batches, and calls `reached` with the number of images of those that are done."""
    for done, batch in enumerate(batches, 1):
        yield batch
        reached(done * batch_size)


def _variability(run: _Run) -> dict[str, dict[str, float]]:
    """Returns level -> how much it fluctuated and over-fitted in the last epochs."""
    from fashion_jax.config.combinations import comparable_in_training
    from fashion_jax.scoring.scores import variability
    from fashion_jax.workdir.metrics_file import read_metrics

    lines, levels, config = read_metrics(run.trained.workdir), run.trained.taxonomy.levels, run.config
    comparable = comparable_in_training(
        levels, config.rare_classes.draw, condition_on_parent=config.model.condition_on_parent
    )
    small = config.progressive.epochs
    return {x: variability(lines, x, small_epochs=small, is_comparable=x in comparable) for x in levels}


def _evaluation(first: _Run, run: _Run, flags: argparse.Namespace, overrides: Overrides, trained_on: str) -> Evaluation:
    """Returns the results of a run, compared with the first; `trained_on` is as _trained_on returns it."""
    from fashion_jax.config.combinations import loss_weights
    from fashion_jax.scoring.evaluation import Evaluation
    from fashion_jax.scoring.metrics import split_metrics

    trained, split = run.trained, run.split
    assessment, note = _assessment(run, flags, overrides)
    return Evaluation(
        workdir=str(trained.workdir),
        step=trained.step,
        split=flags.split,
        images=len(split),
        known_labels={level: int((labels != UNKNOWN).sum()) for level, labels in split.labels.items()},
        metrics=split_metrics(split.labels, run.log_probs, loss_weights(run.config)),
        assessment=assessment,
        shots=flags.shots,
        variability=_variability(run),
        parameters=trained.num_parameters,
        flops_per_image=trained.flops_per_image(),
        images_per_second=run.images_per_second,
        left_out=split.left_out,
        note=" ".join(filter(None, (note, trained_on, *_on_images(run)))),
        comparison=compare_with(first, run),
    )


def _on_images(run: _Run) -> list[str]:
    """Returns sentences on images that differ from those of a prediction, and on labels that are not scored."""
    from fashion_jax.data.batches.pipeline import canvas_shape
    from fashion_jax.data.records.prepared_use import unlike_photos

    config = run.config
    differ = unlike_photos(data_fields(config), config.data.resize, canvas_shape(config, image_shape(config)))
    return [f"{text}." for text in (*differ, *run.split.warnings)]


def _assessment(run: _Run, flags: argparse.Namespace, overrides: Overrides) -> tuple[Assessment, str]:
    """Returns the scores of a run or an export, and the note to them."""
    from fashion_jax.report.text_tables import note
    from fashion_jax.scoring.assessment import assess
    from fashion_jax.serving.exports.evaluated import EvaluatedExport
    from fashion_jax.workdir.files import read_train_counts
    from fashion_jax.workdir.trained_on import has_files_of_validation

    trained, calibration, labels = run.trained, run.calibration, run.split.labels
    if isinstance(trained, EvaluatedExport):
        counts = trained.train_counts
        assessment = assess(run.log_probs, labels, trained.taxonomy, counts, thresholds=flags.shots)
        return assessment.decoded_by(trained.decode), trained.note
    on_own = calibration is not None and calibration.fitted_on(run.split.ids)
    on_own = on_own and has_files_of_validation(trained.workdir, run.split)
    otherwise = ways_to_predict(config_path(trained.workdir), overrides)
    should_be_own = flags.split == "validation" and not names_other_images(overrides)
    cross_fit = calibration is not None and on_own and calibration.step == trained.step and not otherwise
    assessment = assess(
        run.log_probs,
        labels,
        trained.taxonomy,
        read_train_counts(trained.workdir, trained.taxonomy),
        calibration.temperatures if calibration else None,
        thresholds=flags.shots,
        cross_fit=cross_fit,
    )
    return assessment, note(calibration, trained.step, otherwise, on_own, should_be_own)


def _trained_on(run: _Run, flags: argparse.Namespace, overrides: Overrides) -> str:
    """Returns a sentence if a model was or may have been trained on some of the images; "" if not, as far as is known.

    A run has a list of them, unless an early version began it. An export has none, and its data are always named anew.
    """
    from fashion_jax.workdir.trained_on import count_trained_on

    effect = "these scores do not say how new images are classified."
    is_of_training = flags.split in ("train", ALL)
    if is_export(run.trained.workdir):
        return f"if some of these images were trained on, {effect}" if is_of_training else ""
    if count := count_trained_on(run.trained.workdir, run.split):
        if count < _MANY * len(run.split):
            effect = "these scores are a little too high."
        return f"{count:,} of these {len(run.split):,} images {'was' if count == 1 else 'were'} trained on: {effect}"
    known_as_training = is_of_training and not names_other_images(overrides)  # though their files may have changed
    return f"some of these images were trained on, so that {effect}" if known_as_training else ""


def compare_with(first: _Run, run: _Run) -> Comparison:
    """Tests whether a run differs from the first one, on the images and at the levels that both have."""
    from fashion_jax.scoring.evaluation import Comparison
    from fashion_jax.scoring.pairing import Measured, compare_runs
    from fashion_jax.serving.exports.evaluated import EvaluatedExport

    if run is first:
        return Comparison()
    decode = next((x.trained.decode for x in (first, run) if isinstance(x.trained, EvaluatedExport)), "")
    here, there = (
        Measured(x.trained.taxonomy, x.split.ids, x.split.labels, _agreeing(x, decode), x.split.content_digests)
        for x in (first, run)
    )
    found = compare_runs(here, there)
    return found if found.untested else dataclasses.replace(found, decode=decode)


def _agreeing(run: _Run, decode: str) -> dict[str, Any]:
    """Returns the calibrated log-probabilities after `decode` has made the levels agree; an export's agree already."""
    from fashion_jax.scoring import tree_decoding
    from fashion_jax.scoring.blocks import map_levels, stacked
    from fashion_jax.serving.exports.evaluated import EvaluatedExport

    if not decode or isinstance(run.trained, EvaluatedExport):
        return run.calibrated
    taxonomy = run.trained.taxonomy
    return stacked(map_levels(lambda block: tree_decoding.decode(block, taxonomy, decode), run.calibrated))


def _without_nan(value: Any) -> Any:
    """Replaces numbers that are not finite, which JSON does not have, by None."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
