"""A trained run in Python: answers as predict's, arrays with gaps, streams, threads, and its docstrings."""

import doctest
import itertools
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fashion_jax.data.catalogue.generator import catalogue_folder
from fashion_jax.errors import UserError
from fashion_jax.scoring.calibration import Abstention
from fashion_jax.scoring.decider import Decider
from fashion_jax.scoring.tree_decoding import tree_costs
from fashion_jax.serving import answers, classifier, loading
from fashion_jax.serving.answers import Answer
from fashion_jax.serving.classifier import Classifier
from fashion_jax.serving.engine import RunEngine
from fashion_jax.serving.loading import load
from fashion_jax.workdir.calibration_file import read_calibration
from fashion_jax.workdir.files import read_taxonomy
from fashion_jax.workdir.predictions import read_predictions
from fashion_jax.workdir.trained import load_trained
from tests.run_files import without_timing
from tests.shop import write_image
from tests.trees import SHOP, random_log_probs


@pytest.fixture(scope="module")
def loaded(finished_run):
    return load(finished_run, top_k=2)


@pytest.fixture(scope="module")
def validation(finished_run, catalogue_cache):
    """Returns the files of the run's validation split, its taxonomy, and its log-probabilities."""
    import pyarrow.parquet as pq

    path = finished_run / "predictions" / "validation.parquet"
    folder = catalogue_folder(catalogue_cache, 200, 0) / "images"
    files = [folder / f"{name}.jpg" for name in pq.read_table(path)["id"].to_pylist()]
    taxonomy = read_taxonomy(finished_run)
    return files, taxonomy, read_predictions(path, taxonomy)[0]


def test_it_answers_as_the_run_has_predicted(finished_run, loaded, validation):
    files, taxonomy, log_probs = validation
    decider = Decider(taxonomy, read_calibration(finished_run, taxonomy).temperatures, "conditional")
    decisions = decider.decide(log_probs)
    found = loaded.predict(files)
    assert [answer.path for answer in found] == [str(file) for file in files]
    for level in taxonomy.levels:
        names = [taxonomy.classes[level][number] for number in decisions.classes[level]]
        assert [answer.classes[level] for answer in found] == names
        values = [answer.probabilities[level] for answer in found]
        np.testing.assert_allclose(values, decisions.probabilities[level], atol=1e-5)
        table = loaded.probabilities(files)[level]
        assert table.dtype == np.float32 and table.shape == (len(files), len(loaded.labels[level]))
        np.testing.assert_allclose(table, np.exp(decider.decoded(log_probs)[level]), atol=1e-5)


def test_broken_images_leave_gaps_and_disturb_no_others(loaded, validation):
    files = [*validation[0][:2], "nothing.jpg", b"text", validation[0][2]]
    found = loaded.predict(files)
    assert [bool(answer.error) for answer in found] == [False, False, True, True, False]
    assert found[2].path == "nothing.jpg" and not found[2].classes
    alone = loaded.predict(validation[0][2])[0]
    assert found[4].classes == alone.classes
    for table in [*loaded.probabilities(files).values(), loaded.embed(files)]:
        assert np.isnan(table).all(axis=1).tolist() == [False, False, True, True, False]
        assert not np.isnan(table[[0, 1, 4]]).any()


def test_each_answer_is_of_its_own_image():
    """The log-probabilities of an image are here the row of a table that its grey names; None is no image."""
    table = random_log_probs(SHOP, 40, 0)
    engine = SimpleNamespace(
        taxonomy=SHOP,
        canvas=(8, 8),
        resize="stretch",
        batch_size=4,
        log_probs=lambda images: {level: x[images[:, 0, 0, 0]] for level, x in table.items()},
        features=lambda images: images[:, 0, 0, :2].astype(np.float32),
    )
    abstention = Abstention.of_probability(SHOP, 0.6)
    decider = Decider(SHOP, {"main": 2.0, "sub": 0.7}, "conditional", abstention=abstention)
    decisions, decoded = decider.decide(table), decider.decoded(table)
    greys = [None, 7, 3, None, 31, 3, 21, 0, None, None, None, None, 39, None, 12, 5]
    images = [None if grey is None else np.full((9, 7, 3), grey, np.uint8) for grey in greys]
    found = Classifier(engine, decider, top_k=2).predict(images, all_probabilities=True, embeddings=True)
    for answer, grey in zip(found, greys, strict=True):
        if grey is None:
            assert answer.error and answer == Answer("", answer.error)
            continue
        assert answer.answer == decisions.answers[grey] and answer.contradicts == decisions.contradicts[grey]
        assert not answer.error and answer.embedding.tolist() == [grey, grey]
        for level, names in SHOP.classes.items():
            number, expected = decisions.classes[level][grey], np.exp(decoded[level][grey])
            assert answer.classes.get(level) == (names[number] if number >= 0 else None)
            assert answer.probabilities.get(level, 0) == pytest.approx(decisions.probabilities[level][grey])
            assert answer.all_probabilities[level] == pytest.approx(expected)
            assert [name for name, _ in answer.top[level]] == [names[k] for k in np.argsort(-expected)[:2]]
    assert len({answer.classes["main"] for answer in found if not answer.error}) == 3
    assert len({answer.contradicts for answer in found}) == 2


def test_no_images_give_empty_results(loaded):
    assert loaded.predict([]) == []
    assert {level: x.shape for level, x in loaded.probabilities([]).items()} == {
        level: (0, len(names)) for level, names in loaded.labels.items()
    }
    assert loaded.embed([]).shape == (0, loaded.embed(["nothing.jpg"]).shape[1])


def test_every_form_of_an_image_has_the_same_answer(loaded, tmp_path):
    write_image(tmp_path / "a.png", size=(60, 50))
    image = Image.open(tmp_path / "a.png").convert("RGB")
    forms = [tmp_path / "a.png", (tmp_path / "a.png").read_bytes(), image, np.asarray(image)]
    first, *others = loaded.predict(forms)
    assert all(answer.probabilities == first.probabilities for answer in others)


def test_what_is_asked_for_is_in_the_answer(loaded, validation):
    (plain,), (full,) = (
        loaded.predict(validation[0][0], **options) for options in ({}, {"all_probabilities": True, "embeddings": True})
    )
    assert plain.all_probabilities is None and plain.embedding is None and plain.answer is None
    np.testing.assert_array_equal(full.embedding, loaded.embed(validation[0][0])[0])
    for level, values in full.all_probabilities.items():
        assert values.sum() == pytest.approx(1, abs=1e-5)
        best = sorted(zip(loaded.labels[level], values.tolist(), strict=True), key=lambda pair: -pair[1])[:2]
        assert full.top[level] == best
    written = json.loads(json.dumps(full.to_dict()))
    assert written["classes"] == full.classes and len(written["embedding"]) == len(full.embedding)
    assert written["top"]["main"][0] == {"class": full.top["main"][0][0], "probability": full.top["main"][0][1]}
    assert {"top", "path", "error", "classes", "probabilities", "answer"} == set(plain.to_dict())


def test_an_endless_stream_is_answered_as_it_comes(finished_run, loaded):
    pixels, count = np.zeros((40, 40, 3), np.uint8), itertools.count()
    stream = load(finished_run, batch_size=8).stream(pixels for _ in count)
    answers = [next(stream) for _ in range(20)]
    stream.close()
    assert next(count) < 50 and len({answer.classes["sub"] for answer in answers}) == 1


def test_threads_get_the_answers_of_one(finished_run, validation):
    shared = load(finished_run)  # nothing is compiled yet
    images = [np.asarray(Image.open(file)) for file in validation[0][:12]]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda image: shared.predict(image)[0], images))
    alone = [shared.predict(image)[0] for image in images]
    assert [answer.probabilities for answer in found] == [answer.probabilities for answer in alone]


def test_an_engine_takes_any_number_of_images(finished_run):
    engine = RunEngine(load_trained(finished_run), batch_size=16)
    images = np.random.default_rng(0).integers(0, 256, (37, *engine.canvas, 3), np.uint8)
    everything, features = engine.log_probs(images), engine.features(images)
    assert features.shape[0] == 37 and features.dtype == np.float32
    for count in (1, 9, 16):
        np.testing.assert_allclose(engine.features(images[:count]), features[:count], rtol=1e-4, atol=1e-5)
        for level, values in engine.log_probs(images[:count]).items():
            np.testing.assert_allclose(values, everything[level][:count], atol=1e-5)


@pytest.mark.parametrize("options", [{"min_probability": 0.2}, {"precision": 0.9}], ids=str)
def test_it_may_abstain(finished_run, validation, options):
    files, taxonomy, log_probs = validation
    abstaining = load(finished_run, **options)
    assert [a.answer for a in abstaining.predict(files)] == abstaining.decider.decide(log_probs).answers
    known = {"unsure"}.union(*taxonomy.classes.values())
    assert {answer.answer for answer in abstaining.predict(files)} <= known


@pytest.mark.parametrize("options", [{"decode": "marginal"}, {"decode": "independent"}, {"costs": "tree"}], ids=str)
def test_it_decides_as_asked(finished_run, validation, options):
    files, taxonomy, log_probs = validation
    temperatures = read_calibration(finished_run, taxonomy).temperatures
    costs = tree_costs(taxonomy) if "costs" in options else None
    decisions = Decider(taxonomy, temperatures, options.get("decode", "conditional"), costs).decide(log_probs)
    found = load(finished_run, **options).predict(files)
    for level in taxonomy.levels:
        names = [taxonomy.classes[level][number] for number in decisions.classes[level]]
        assert [answer.classes[level] for answer in found] == names
        values = [answer.probabilities[level] for answer in found]
        np.testing.assert_allclose(values, decisions.probabilities[level], atol=1e-5)


def test_it_loads_the_checkpoint_that_is_asked_for(finished_run, loaded, validation):
    latest = load(finished_run, checkpoint="latest")
    line = max(without_timing(finished_run), key=lambda line: line["validation/sub/macro_f1"])
    assert (latest.engine.trained.step, loaded.engine.trained.step) == (20, line["step"])
    found, best = (x.probabilities(validation[0][:3])["sub"] for x in (latest, loaded))
    assert (np.abs(found - best).max() > 1e-3) == (line["step"] != 20)


def test_temperatures_of_another_step_are_told_and_their_thresholds_refused(finished_run, tmp_path, capsys):
    run = shutil.copytree(finished_run, tmp_path / "run")
    calibration = json.loads((run / "calibration.json").read_text())
    (run / "calibration.json").write_text(json.dumps(calibration | {"step": 7}))
    step = load(run).engine.step
    told = f"The probabilities of step {step} are calibrated with temperatures that were fitted at step 7"
    assert told in capsys.readouterr().err
    with pytest.raises(UserError, match=f"predictions of step 7, but checkpoint 'best' is step {step}"):
        load(run, precision=0.9)


def test_fields_that_change_predicting_are_overridden(finished_run, loaded, validation):
    flipped = load(finished_run, overrides={"eval_flip": True})
    same = load(finished_run, overrides=[("eval_flip", "false")])
    file = validation[0][0]
    assert same.predict(file)[0].probabilities == loaded.predict(file)[0].probabilities
    assert flipped.predict(file)[0].probabilities != loaded.predict(file)[0].probabilities


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"checkpoint": "last"}, "'last'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"top_k": -1}, "top_k is -1"),
        ({"decode": "greedy"}, "conditional"),
        ({"precision": 1.5}, "precision is 1.5"),
        ({"precision": "0.9"}, "precision is '0.9'"),
        ({"costs": 5}, "costs is 5"),
        ({"costs": "tre"}, "costs is 'tre', which is neither 'tree' nor"),
        ({"overrides": "eval_flip=True"}, "overrides is 'eval_flip=True'"),
        ({"precision": 0.9, "min_probability": 0.9}, "one of them"),
        ({"costs": "tree", "decode": "independent"}, "costs"),
        ({"costs": "nothing.csv"}, "nothing.csv"),
        ({"precision": 0.9, "overrides": {"eval_flip": True}}, "eval_flip"),
        ({"overrides": {"learning_rate": 1}}, "learning_rate cannot be changed"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_named(finished_run, options, said):
    with pytest.raises(UserError) as refused:
        load(finished_run, **options)
    assert said in str(refused.value)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match="neither a run nor an export"):
        load(tmp_path)
    with pytest.raises(UserError, match="directory is 5, but must be the path"):
        load(5)
    with pytest.raises(UserError, match="mount the store"):
        load("gs://bucket/run")


def test_paths_may_begin_with_the_users_home(finished_run, validation, monkeypatch):
    monkeypatch.setenv("HOME", str(finished_run.parent))
    file = validation[0][0]
    classifier = load(f"~/{finished_run.name}")
    monkeypatch.setenv("HOME", str(file.parent))
    assert not classifier.predict(f"~/{file.name}")[0].error


@pytest.mark.parametrize("module", [answers, classifier, loading], ids=lambda module: module.__name__)
def test_the_examples_of_the_docstrings_hold(module, finished_run, monkeypatch, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mtl").symlink_to(finished_run)
    write_image(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(module)
    assert result.attempted > 1 and result.failed == 0
