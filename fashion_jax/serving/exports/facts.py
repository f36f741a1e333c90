"""Collects what the card of an export says about its run: its data, where its weights come from, and its metrics."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from fashion_jax.config.loading import image_shape
from fashion_jax.models.pretrained.hub import PREFIX
from fashion_jax.models.pretrained.source import is_weights
from fashion_jax.scoring.assessment import Assessment, assess
from fashion_jax.scoring.temperature import apply_temperatures
from fashion_jax.scoring.tree_decoding import DEFAULT_DECODE, decode
from fashion_jax.serving.exports.card import Facts
from fashion_jax.serving.exports.check_images import SPLIT
from fashion_jax.serving.exports.plan import ExportPlan
from fashion_jax.workdir.files import read_json, read_train_counts, train_counts
from fashion_jax.workdir.paths import CALIBRATION, data_path, predictions_path
from fashion_jax.workdir.predictions import read_predictions


def facts_of(plan: ExportPlan, compared: Sequence[str], cost: Sequence[str]) -> Facts:
    """Collects what the card says about the run.

    Args:
        plan: what is exported.
        compared: sentences on the comparison with the run.
        cost: sentences on what 8-bit integers cost.

    Raises:
        UserError: data.json or the predictions on the validation split are damaged.
    """
    trained = plan.trained
    data = read_json(data_path(trained.workdir))
    validation = train_counts(data, trained.taxonomy, SPLIT)
    assessment, assessed = _assessed(plan)
    model = trained.config.model
    return Facts(
        model=model.name,
        image_size=image_shape(trained.config),
        counts={split: int(found["images"]) for split, found in data["splits"].items()},
        validation_counts={level: x.tolist() for level, x in validation.items()},
        assessment=assessment,
        assessed=assessed,
        is_measured=_is_measured(plan),
        notes=list(_notes(plan)) if assessment else ["The run has no predictions on its validation split."],
        compared=compared,
        cost=cost,
        origins=list(origins(model.init_from, model.frozen, model.init_heads_from)),
        base_models=base_models(model.init_from),
        vectors=_vectors_words(plan),
    )


def _assessed(plan: ExportPlan) -> tuple[Assessment | None, int]:
    """Returns the assessment of the run's predictions, decoded as the export decodes, and the number of the images."""
    trained, taxonomy = plan.trained, plan.trained.taxonomy
    path = predictions_path(trained.workdir)
    if not path.is_file():
        return None, 0
    log_probs, labels = read_predictions(path, taxonomy)
    decoded = decode(apply_temperatures(log_probs, plan.temperatures), taxonomy, DEFAULT_DECODE)
    counts = read_train_counts(trained.workdir, taxonomy)
    return assess(decoded, labels, taxonomy, counts).decoded_by(DEFAULT_DECODE), len(labels[taxonomy.levels[0]])


def _is_measured(plan: ExportPlan) -> bool:
    """Returns whether the run's predictions on its validation split are known to be those of the export."""
    return plan.is_calibrated and not plan.int8 and plan.dtype == "float32"


def _notes(plan: ExportPlan) -> Iterator[str]:
    """Says how the measured predictions differ from those of the export."""
    calibration = plan.calibration
    if calibration is None:
        yield "The probabilities are not calibrated."
        yield f"Without {CALIBRATION} it is not known which checkpoint of the run these metrics are of."
    else:
        yield "The temperatures were fitted on the same images."
        if calibration.step != plan.trained.step:
            yield f"These are of the checkpoint of step {calibration.step:,}, not {plan.trained.step:,}."
    if plan.dtype != "float32":
        of = "The metrics and the temperatures are" if calibration else "The metrics are"
        yield f"{of} of the run itself in {plan.dtype}, but the export computes in float32."
    if plan.int8:
        yield "They are of the run itself; the comparison below tells what 8-bit integers cost."
    if plan.otherwise:
        yield f"They were measured with another {', '.join(plan.otherwise)} than the export has."


def origins(init_from: Mapping[str, str], frozen: Collection[str], init_heads_from: str) -> Iterator[str]:
    """Says which weights of others a run began with; paths are not named.

    The arguments are fields of the section model of the run's own config.json.
    """
    for name, source in init_from.items():
        end = ", and was not trained further" if name in frozen else ""
        yield f"Its trunk {name} began with {_source_words(source)}{end}."
    if init_heads_from:
        yield "Its heads began with those of another run."


def base_models(init_from: Mapping[str, str]) -> list[str]:
    """Returns the repositories, as OWNER/NAME, whose weights a run began with; see `origins`."""
    sources = [source for source in init_from.values() if source.startswith(PREFIX)]
    return list(dict.fromkeys(source.removeprefix(PREFIX).partition("@")[0] for source in sources))


def _source_words(source: str) -> str:
    if source.startswith(PREFIX):
        return f"the weights of {source}"
    return "a file of weights" if is_weights(source) else "weights from elsewhere"


def _vectors_words(plan: ExportPlan) -> str:
    """Says which images test_vectors.npz holds, for whoever publishes it."""
    images = plan.images
    words = f"Its images are {images.words(plan.vectors)}"
    if not images.has_photos:
        return f"{words}."
    photos = f"{SPLIT} photos of the run's data set" if len(images.validation) else "photos"
    return f"{words}: whoever publishes this folder publishes these {photos}, decoded at the size of the canvas."
