"""What an export says of its run: images it was trained on, temperatures, metrics, and where its weights come from."""

import dataclasses

import numpy as np
import pytest
import yaml

from fashion_jax.config.loading import load_run_config, names_other_images
from fashion_jax.errors import UserError
from fashion_jax.scoring.temperature import apply_temperatures
from fashion_jax.scoring.tree_decoding import decode, predicted_classes
from fashion_jax.serving.exports import check_images, making
from fashion_jax.serving.exports.card import card
from fashion_jax.serving.exports.check import Differences
from fashion_jax.serving.exports.check_images import find_check_images, spread
from fashion_jax.serving.exports.facts import base_models, facts_of, origins
from fashion_jax.serving.exports.plan import ExportPlan
from fashion_jax.workdir.calibration_file import read_calibration
from fashion_jax.workdir.paths import CONFIG
from fashion_jax.workdir.predictions import read_predictions
from fashion_jax.workdir.trained import load_trained

OTHER_SPLIT = ("data.splits", "{'train': 0.6, 'validation': 0.4}")


@pytest.fixture(scope="module")
def plan(finished_run) -> ExportPlan:
    trained = load_trained(finished_run)
    images = find_check_images(finished_run, trained.config, trained.taxonomy, 40)
    return ExportPlan(trained, read_calibration(finished_run, trained.taxonomy), [], "tflite", False, images)


def found_on(plan: ExportPlan, overrides=(), **arguments) -> check_images.CheckImages:
    """Returns 40 images to compare on, of the data that the overrides name."""
    config = load_run_config(plan.trained.workdir / CONFIG, overrides)
    return find_check_images(plan.trained.workdir, config, plan.trained.taxonomy, 40, **arguments)


def same_answers(plan: ExportPlan) -> Differences:
    """Returns the comparison of an export that answers as the run does."""
    paths = np.zeros((len(plan.images.canvases), len(plan.trained.taxonomy.levels)), np.int32)
    return Differences(len(paths), 0.0, 0.0, 0, 0, 1.0, 1.0, paths, paths)


def card_of(plan: ExportPlan) -> str:
    description = dataclasses.replace(making._description(plan, 8), files={})
    return card(description, plan.trained.taxonomy, facts_of(plan, ["Compared."], []))


def in_dtype(plan: ExportPlan, dtype: str) -> ExportPlan:
    config = load_run_config(plan.trained.workdir / CONFIG)
    config.dtype = dtype
    program = dataclasses.replace(plan.trained.program, config=config)
    return dataclasses.replace(plan, trained=dataclasses.replace(plan.trained, program=program))


def test_images_that_the_run_was_trained_on_are_told(plan):
    assert plan.images.trained_on == 0 and plan.images.words() == "40 of the validation split"
    assert "trained on" not in " ".join(making._compared_words(plan, same_answers(plan)))
    other = dataclasses.replace(plan, images=found_on(plan, [OTHER_SPLIT]))
    count = other.images.trained_on
    assert 0 < count < 40
    told = f"{count} of these 40 images of the validation split were trained on"
    assert told in " ".join(making._compared_words(other, same_answers(other)))
    other = dataclasses.replace(other, int8=True)
    compared, cost = (f(other, same_answers(other)) for f in (making._compared_words, making._cost_words))
    assert f"{told}, so that both accuracies are higher" in cost[-1] and "trained on" not in " ".join(compared)


def test_accuracies_without_known_labels_are_told_to_be_missing(plan):
    labels = {level: np.full(40, -1) for level in plan.images.labels}
    unknown = dataclasses.replace(plan, int8=True, images=dataclasses.replace(plan.images, labels=labels))
    (said,) = making._cost_words(unknown, same_answers(unknown))
    assert "not measured" in said and "such as Accessories, Apparel, Footwear" in said and "data.levels" in said
    half = dataclasses.replace(unknown.images, labels=labels | {"main": plan.images.labels["main"]})
    main, sub = making._cost_words(dataclasses.replace(unknown, images=half), same_answers(plan))
    assert main.startswith("Accuracy of main") and "accuracy of sub was not measured" in sub


def test_data_that_is_named_must_be_there(plan, monkeypatch):
    assert names_other_images([("data.path", "x")]) and names_other_images([OTHER_SPLIT])
    assert not names_other_images([("eval_flip", "true"), ("data.resize", "crop"), ("data.cache_dir", "x")])

    def gone(*_):
        raise UserError("The table is gone.")

    monkeypatch.setattr(check_images, "load_split", gone)
    with pytest.raises(UserError, match="The table is gone"):
        found_on(plan, is_data_named=True)
    images = found_on(plan)
    assert images.words() == "40 generated" and images.why_not == "The table is gone."
    assert "The table is gone." in making._fallback_words(dataclasses.replace(plan, images=images))[0]


def test_the_vectors_are_spread_over_the_images(plan):
    assert list(plan.vectors) == list(spread(40, 16)) and plan.vectors[-1] == 39
    text = facts_of(plan, [], []).vectors
    assert "16 of the validation split" in text and "validation photos of the run's data set" in text
    generated = dataclasses.replace(plan.images, labels={"main": np.zeros(0)}, kinds={"generated": 40})
    assert facts_of(dataclasses.replace(plan, images=generated), [], []).vectors == "Its images are 16 generated."
    mixed = dataclasses.replace(plan.images, kinds={"of the validation split": 4, "generated": 36})
    assert mixed.words(spread(40, 16)) == "2 of the validation split and 14 generated"


@pytest.mark.parametrize(
    ("change", "is_calibrated", "said"),
    [
        (lambda plan: plan, True, "The temperatures were fitted on the same images."),
        (lambda plan: dataclasses.replace(plan, calibration=None), False, "Without calibration.json it is not known"),
        (lambda plan: dataclasses.replace(plan, otherwise=["eval_flip"]), False, "with another eval_flip"),
        (lambda plan: dataclasses.replace(plan, int8=True), True, "what 8-bit integers cost"),
        (lambda plan: in_dtype(plan, "bfloat16"), True, "The metrics and the temperatures are of the run itself in bf"),
        (
            lambda plan: dataclasses.replace(plan, calibration=dataclasses.replace(plan.calibration, step=3)),
            False,
            "of the checkpoint of step 3",
        ),
    ],
    ids=["own", "no calibration", "otherwise", "int8", "bfloat16", "another step"],
)
def test_metrics_are_those_of_the_export_or_a_note_says_why_not(plan, change, is_calibrated, said):
    changed = change(plan)
    text = card_of(changed)
    assert changed.is_calibrated == is_calibrated and said in text
    assert ("model-index" in text) == (changed is plan)
    assert ("| calibrated probabilities" in text) == is_calibrated
    assert ("| probabilities, not calibrated for these predictions" in text) == bool(changed.other_temperatures)
    assert all(note in text for note in changed.other_temperatures)


def test_the_card_tells_accuracies_on_the_path_from_those_by_itself(plan):
    log_probs, labels = read_predictions(
        plan.trained.workdir / "predictions" / "validation.parquet", plan.trained.taxonomy
    )
    decoded = decode(apply_temperatures(log_probs, plan.temperatures), plan.trained.taxonomy, "conditional")
    on_path = predicted_classes(decoded, plan.trained.taxonomy, "conditional")
    text = card_of(plan)
    assert "| level | accuracy of `path` | accuracy of the level by itself |" in text
    for level, classes in on_path.items():
        by_itself = (decoded[level].argmax(1) == labels[level]).mean()
        assert f"| `{level}` | {(classes == labels[level]).mean():.3f} | {by_itself:.3f} (" in text
    assert "by itself, a level is answered by its likeliest class" in text


def test_the_weights_that_a_run_began_with_are_declared(plan, tmp_path):
    config = load_run_config(plan.trained.workdir / CONFIG)
    config.model.init_from = {
        "resnet34": "hf://timm/resnet34.a1_in1k@main",
        "vgg16": str(tmp_path / "vgg16.pth"),
        "resnet10": str(tmp_path / "run"),
    }
    config.model.frozen = ["vgg16"]
    config.model.init_heads_from = str(tmp_path / "heads")
    said = list(origins(config.model.init_from, config.model.frozen, config.model.init_heads_from))
    assert said == [
        "Its trunk resnet34 began with the weights of hf://timm/resnet34.a1_in1k@main.",
        "Its trunk vgg16 began with a file of weights, and was not trained further.",
        "Its trunk resnet10 began with weights from elsewhere.",
        "Its heads began with those of another run.",
    ]
    assert base_models(config.model.init_from) == ["timm/resnet34.a1_in1k"]
    program = dataclasses.replace(plan.trained.program, config=config)
    changed = dataclasses.replace(plan, trained=dataclasses.replace(plan.trained, program=program))
    _, front, text = card_of(changed).split("---\n", 2)
    assert yaml.safe_load(front)["base_model"] == ["timm/resnet34.a1_in1k"]
    assert "hf://timm/resnet34.a1\\_in1k@main." in text and str(tmp_path) not in text
    assert "base_model" not in card_of(plan)
