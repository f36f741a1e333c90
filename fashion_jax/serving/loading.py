"""Loads a classifier from a trained run or an export.

What computes is imported late, so that a wrong argument is reported without waiting for it.
"""

from __future__ import annotations

import numbers
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fashion_jax.command_line import remote
from fashion_jax.command_line.formats import printable
from fashion_jax.config.loading import named_cache_dir, ways_to_predict
from fashion_jax.errors import UserError
from fashion_jax.scoring.tree_decoding import DECODES, DEFAULT_DECODE
from fashion_jax.serving.calibration_notes import no_calibration_note, other_temperatures_notes
from fashion_jax.serving.exports.folder import Export, is_export
from fashion_jax.workdir.files import has_checkpoint
from fashion_jax.workdir.paths import CALIBRATION, config_path, predictions_path

if TYPE_CHECKING:
    import numpy as np

    from fashion_jax.scoring.decider import Decider
    from fashion_jax.serving.classifier import Classifier
    from fashion_jax.serving.engine import Engine
    from fashion_jax.taxonomy import Taxonomy
    from fashion_jax.workdir.calibration_file import RunCalibration


def load(  # noqa: PLR0913 (a flat list of keywords is what users read and complete)
    directory: str | os.PathLike[str],
    *,
    checkpoint: str = "best",
    batch_size: int | None = None,
    decode: str = DEFAULT_DECODE,
    precision: float | None = None,
    min_probability: float | None = None,
    costs: str | os.PathLike[str] = "",
    top_k: int = 0,
    overrides: Mapping[str, Any] | Iterable[tuple[str, str]] = (),
) -> Classifier:
    """Loads a trained run or an export to classify images with.

    Args:
        directory: the work directory of a run, or the folder of an export.
        checkpoint: of a run: "best" or "latest".
        batch_size: the most images computed at a time; by default the smallest multiple of the run's
            batch_size, divided by its accumulate, that is at least 64.
        decode: how the levels are made to agree: "independent" (each by itself, which can contradict itself),
            "marginal" (by the finest level), "conditional" (P(class | parent) times P(parent), which stays calibrated)
            or "joint" (the product of all levels, which is too sure).
        precision: `Answer.answer` names the finest sure class, by thresholds with which this share of the answers at
            each level is right on the run's validation split.
        min_probability: `Answer.answer` names the finest class that is at least so probable, or "unsure".
        costs: "tree", or a table of the costs of mistakes (columns true, predicted, cost): choose the path of least
            expected cost instead of the likeliest.
        top_k: `Answer.top` names so many classes at each level.
        overrides: of a run: fields of its config that change how it predicts, and their values, for example
            `{"eval_flip": False}`; or pairs of a field and its value as text. Of an export only "data.cache_dir",
            on which the first load or train in a process decides.

    Returns:
        A classifier, on all devices of this process. What a user should know of its calibration is printed on stderr.

    Raises:
        UserError: there is neither a run nor an export, or an argument has a wrong value or does not fit the others.
        RunError: none of the run's checkpoints can be used.

    Example:
        >>> import fashion_jax as fj
        >>> classifier = fj.load("runs/mtl", top_k=2)
        >>> answers = classifier.predict(["photo.jpg", "nothing.jpg"])
        >>> answers[0].classes["sub"] in classifier.labels["sub"], len(answers[0].top["sub"])
        (True, 2)
        >>> answers[1].error
        'there is no such file'
    """
    if not isinstance(directory, str | os.PathLike):
        raise UserError(f"directory is {directory!r}, but must be the path of a run or an export.")
    if store := remote(str(directory)):
        raise UserError(f"directory is {str(directory)!r}, {store}.")
    folder = Path(os.path.expanduser(directory))
    _check_arguments(checkpoint, batch_size, top_k)
    check_decisions(decode, costs, precision, min_probability)
    texts = _texts(overrides)
    check_model(folder, texts, checkpoint=checkpoint, decode=decode, precision=precision, costs=costs)
    engine: Engine
    if is_export(folder):
        from fashion_jax.serving.exports.engines import load_engine

        engine = export_engine = load_engine(folder, named_cache_dir(texts))
        _say_calibration(folder, export_engine.export)
    else:
        engine = _load_run(folder, checkpoint, batch_size, texts, precision)
        batch_size = engine.batch_size  # a multiple of the devices
    from fashion_jax.serving.classifier import Classifier

    decider = _decider(engine, decode, costs, min_probability)
    if precision is not None:
        from fashion_jax.workdir.predictions import read_predictions

        decider = decider.for_precision(*read_predictions(predictions_path(folder), engine.taxonomy), precision)
    return Classifier(engine, decider, top_k, batch_size)


def _texts(overrides: Mapping[str, Any] | Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Returns overrides as pairs of a field and its value as text, as on a command line."""
    if isinstance(overrides, str):
        raise UserError(f"overrides is {overrides!r}, but must be a table such as {{'eval_flip': False}}.")
    pairs = overrides.items() if isinstance(overrides, Mapping) else overrides
    plain = ((field, os.fspath(x) if isinstance(x, os.PathLike) else x) for field, x in pairs)
    return [(field, x if isinstance(x, str) else repr(x)) for field, x in plain]


def _say_calibration(folder: Path, export: Export) -> None:
    """Says how the probabilities of an export are calibrated if they are not, or not by their own predictions."""
    if export.calibration_note:
        _say(f"{folder}: {export.calibration_note}")
    elif not export.calibrated:
        _say(f"{folder} is not calibrated: its run had no {CALIBRATION}.")


def _check_arguments(checkpoint: str, batch_size: int | None, top_k: int) -> None:
    if checkpoint not in ("best", "latest"):
        raise UserError(f"checkpoint is {checkpoint!r}, but must be 'best' or 'latest'.")
    if batch_size is not None and not (isinstance(batch_size, int) and batch_size >= 1):
        raise UserError(f"batch_size is {batch_size!r}, but must be a whole number of at least 1.")
    if not (isinstance(top_k, int) and top_k >= 0):
        raise UserError(f"top_k is {top_k!r}, but must be a whole number of at least 0.")


def check_decisions(
    decode: str, costs: str | os.PathLike[str], precision: float | None, min_probability: float | None
) -> None:
    """Checks arguments of `load` that can be checked without the model, so that a command need not wait for it.

    Raises:
        UserError: one has a wrong value, or does not fit the others.
    """
    if decode not in DECODES:
        raise UserError(f"decode is {decode!r}, but must be one of {', '.join(DECODES)}.")
    for name, value in (("min_probability", min_probability), ("precision", precision)):
        if value is not None and not (isinstance(value, numbers.Real) and 0 < value <= 1):
            raise UserError(f"{name} is {value!r}, but must be a number above 0 and at most 1.")
    if min_probability is not None and precision is not None:
        raise UserError("min_probability and precision both say when to answer: give one of them.")
    if costs is not None and not isinstance(costs, str | os.PathLike):
        raise UserError(f"costs is {costs!r}, but must be 'tree' or the path of a table.")
    if costs and costs != "tree" and not os.path.isfile(os.path.expanduser(costs)):
        raise UserError(f"costs is {os.fspath(costs)!r}, which is neither 'tree' nor a table that is there: name one.")
    if costs and decode == "independent":
        raise UserError("costs needs probabilities that agree, which decode='independent' does not give: leave it out.")


def check_model(
    folder: Path,
    overrides: list[tuple[str, str]],
    *,
    checkpoint: str,
    decode: str,
    precision: float | None,
    costs: str | os.PathLike[str],
) -> None:
    """Checks arguments of `load` by the small files of a run or an export, so that a command tells mistakes first.

    Raises:
        UserError: there is neither a run nor an export, it does not have what is asked for, or the costs are wrong.
    """
    if is_export(folder):
        _check_export(folder, checkpoint, decode, precision, overrides)
    else:
        _check_run(folder, precision, overrides)
        if costs:  # of an export they are checked when its files have been compared with their digests
            from fashion_jax.workdir.files import read_taxonomy

            _costs(costs, read_taxonomy(folder))


def _check_export(
    folder: Path, checkpoint: str, decode: str, precision: float | None, overrides: list[tuple[str, str]]
) -> None:
    """Checks that nothing is asked that only a run can give."""
    if precision is not None:
        raise UserError(
            f"precision takes its thresholds from a run's validation split, which the export {str(folder)!r} does not "
            "have: load the run, or give min_probability."
        )
    if decode != DEFAULT_DECODE:
        raise UserError(
            f"decode is {decode!r}, but the probabilities of the export {str(folder)!r} have been made to agree by "
            f"{DEFAULT_DECODE!r}: load the run, or leave decode out."
        )
    if checkpoint != "best":
        raise UserError(f"checkpoint is {checkpoint!r}, but the export {str(folder)!r} holds only one: leave it out.")
    if fixed := [field for field, _ in overrides if field != "data.cache_dir"]:
        raise UserError(
            f"{fixed[0]} cannot be changed in the export {str(folder)!r}: load the run, or export it again."
        )


def _check_run(workdir: Path, precision: float | None, overrides: list[tuple[str, str]]) -> None:
    """Checks that there is a run, with the predictions that `precision` takes its thresholds from."""
    if not config_path(workdir).is_file():
        raise UserError(
            f"{str(workdir)!r} holds neither a run nor an export: name the work directory of a training, or the folder "
            "of an export."
        )
    if not has_checkpoint(workdir):
        raise UserError(f"{str(workdir)!r} holds no checkpoint: train a run there first.")
    otherwise = ways_to_predict(config_path(workdir), overrides)
    if precision is None:
        return
    if otherwise:
        raise UserError(
            f"precision takes its thresholds from predictions that were made with another {otherwise[0]}: leave that "
            "out, or give min_probability."
        )
    if not (path := predictions_path(workdir)).is_file():
        raise UserError(
            f"precision takes its thresholds from {path}, which is missing: let the run write its predictions again, "
            "or give min_probability."
        )


def _load_run(
    workdir: Path,
    checkpoint: str,
    batch_size: int | None,
    overrides: list[tuple[str, str]],
    precision: float | None,
) -> Engine:
    """Returns the engine of a run that _check_run has checked."""
    from fashion_jax.serving.engine import RunEngine
    from fashion_jax.workdir.calibration_file import read_calibration
    from fashion_jax.workdir.files import read_taxonomy
    from fashion_jax.workdir.trained import load_trained

    calibration = read_calibration(workdir, read_taxonomy(workdir))
    trained = load_trained(workdir, checkpoint, overrides)
    _check_calibration(calibration, trained.step, checkpoint, precision)
    otherwise = ways_to_predict(config_path(workdir), overrides)
    notes = [no_calibration_note(str(workdir))]
    for note in other_temperatures_notes(calibration, trained.step, otherwise) if calibration else notes:
        _say(note)
    return RunEngine(trained, batch_size, calibration.temperatures if calibration else {})


def _check_calibration(calibration: RunCalibration | None, step: int, checkpoint: str, precision: float | None) -> None:
    """Checks that the thresholds of `precision`, if given, are those of the checkpoint.

    Raises:
        UserError: they would be those of another one, or may be.
    """
    if precision is None:
        return
    if not calibration and checkpoint != "best":
        raise UserError(
            f"precision takes its thresholds from predictions of the best checkpoint, but checkpoint is "
            f"{checkpoint!r}: use the best one, or min_probability."
        )
    if calibration and calibration.step != step:
        raise UserError(
            f"precision takes its thresholds from predictions of step {calibration.step}, but checkpoint "
            f"{checkpoint!r} is step {step}: use that of step {calibration.step}, or min_probability."
        )


def _decider(engine: Engine, decode: str, costs: str | os.PathLike[str], min_probability: float | None) -> Decider:
    from fashion_jax.scoring.calibration import Abstention
    from fashion_jax.scoring.decider import Decider

    taxonomy = engine.taxonomy
    abstention = None if min_probability is None else Abstention.of_probability(taxonomy, min_probability)
    return Decider(taxonomy, engine.temperatures, decode, _costs(costs, taxonomy), abstention)


def _costs(costs: str | os.PathLike[str], taxonomy: Taxonomy) -> np.ndarray | None:
    from fashion_jax.data.sources.cost_table import read_costs
    from fashion_jax.scoring.tree_decoding import leaf_names, tree_costs, with_costs

    if not costs:
        return None
    if costs == "tree":
        return tree_costs(taxonomy)
    return with_costs(taxonomy, read_costs(Path(os.path.expanduser(costs)), leaf_names(taxonomy)))


def _say(sentence: str) -> None:
    jax = sys.modules.get("jax")  # an export may do without; connected processes have imported it
    if jax is None or jax.process_index() == 0:
        print(printable(sentence), file=sys.stderr)
