"""The export command: every format answers as the run does, and one sentence for everything that cannot be."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import fashion_jax as fj
from fashion_jax import demo, evaluate, export, predict
from fashion_jax.errors import UserError
from fashion_jax.serving.exports import check, check_images, making
from fashion_jax.serving.exports.engines import load_engine
from fashion_jax.serving.exports.evaluated import load_evaluated
from fashion_jax.serving.exports.folder import MODELS, read_test_vectors
from fashion_jax.workdir.trained import load_trained
from tests.shop import write_image

FORMATS = tuple(MODELS)


@pytest.fixture(scope="module")
def exports(finished_run, tmp_path_factory):
    """Returns a function that exports the run once in a format, and returns the folder and what was printed."""
    made: dict[str, Path] = {}

    def exported(name: str, *flags: str) -> Path:
        key = " ".join([name, *flags])
        if key not in made:
            made[key] = tmp_path_factory.mktemp("exports") / name
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(making, "COMPARED_IMAGES", 40)  # as many as the validation split has
                assert export.main(arguments(finished_run, made[key], name, *flags)) == 0
        return made[key]

    return exported


def arguments(run: Path, output: Path, name: str, *flags: str) -> list[str]:
    return ["--workdir", str(run), "--output", str(output), "--format", name, *flags]


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[str]:
    """Returns photos: one turned in each of the ways that EXIF knows, a grey one, and one with transparent pixels."""
    folder = tmp_path_factory.mktemp("photos")
    write_image(folder / "0.jpg", seed=0)
    with Image.open(folder / "0.jpg") as opened:
        photo = opened.convert("RGB").resize((90, 120))
    files = []
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        files.append(folder / f"turn{turn}.jpg")
        photo.save(files[-1], exif=exif, quality=95)
    files += [folder / "grey.png", folder / "transparent.png"]
    photo.convert("L").save(files[-2])
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    photo.save(files[-1])
    return list(map(str, files))


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_answers_as_the_run(exports, finished_run, photos, name):
    run, classifier = fj.load(finished_run), fj.load(exports(name))
    images = [*photos, np.zeros((5, 7, 3), np.uint8), b"no image"]
    live, found = run.probabilities(images), classifier.probabilities(images)
    for level, values in live.items():
        np.testing.assert_allclose(found[level], values, atol=1e-4)
    answers = classifier.predict(images)
    assert [answer.classes for answer in answers] == [answer.classes for answer in run.predict(images)]
    assert answers[-1].error and not answers[-2].error
    np.testing.assert_allclose(classifier.embed(photos), run.embed(photos), atol=1e-3)


@pytest.mark.parametrize("name", FORMATS)
def test_the_vectors_in_an_export_are_what_its_model_returns(exports, name):
    vectors = read_test_vectors(exports(name))
    images = vectors.pop("images")
    assert len(images) == 16
    outputs = load_engine(exports(name)).outputs(images)
    assert list(outputs) == list(vectors) == ["main_probabilities", "sub_probabilities", "path", "features"]
    for output, values in vectors.items():
        np.testing.assert_allclose(outputs[output], values, atol=1e-3)
        assert outputs[output].dtype == values.dtype


@pytest.mark.parametrize("name", FORMATS)
def test_the_lines_of_a_card_classify_a_photo(exports, photos, monkeypatch, capsys, name):
    folder = exports(name)
    program = (folder / "card.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(folder)
    for photo in photos:
        exec(program.replace("photo.jpg", photo), {})
    printed = [line.split(" ", 1)[1].rsplit(" ", 1)[0] for line in capsys.readouterr().out.splitlines()]
    expected = [answer.classes for answer in fj.load(folder).predict(photos)]
    assert printed == [name for classes in expected for name in classes.values()]


def test_8_bit_integers_are_measured(exports, finished_run, capsys):
    folder = exports("tflite", "--int8")
    out = capsys.readouterr().out
    assert "Accuracy of sub on the likeliest paths of 40 validation images" in out and "points" in out
    card = (folder / "card.md").read_text()
    assert "Accuracy of sub on the likeliest paths of 40 validation images" in card and "int8" in card
    assert "They are of the run itself" in card and "model-index" not in card
    assert "model-index" in (exports("tflite") / "card.md").read_text()
    size, whole = ((x / MODELS["tflite"]).stat().st_size for x in (folder, exports("tflite")))
    assert size < 0.5 * whole
    vectors = read_test_vectors(folder)
    outputs = load_engine(folder).outputs(vectors["images"])
    np.testing.assert_allclose(outputs["sub_probabilities"], vectors["sub_probabilities"], atol=0.1)


def gone(*_):
    raise UserError("The table is gone.")


def test_8_bit_integers_need_the_data(finished_run, tmp_path, monkeypatch, capsys):
    data = ["--config.data.source=csv", f"--config.data.path={tmp_path / 'moved'}"]
    assert export.main(arguments(finished_run, tmp_path / "x", "tflite", "--int8", *data)) == 2
    err = capsys.readouterr().err
    assert "data.path" in err and str(tmp_path / "moved") in err and len(err.splitlines()) == 1
    assert not any(tmp_path.iterdir())
    monkeypatch.setattr(making, "COMPARED_IMAGES", 4)
    monkeypatch.setattr(check_images, "load_split", gone)  # of data that nobody names
    assert export.main(arguments(finished_run, tmp_path / "x", "tflite", "--int8")) == 2
    err = capsys.readouterr().err
    assert "--int8" in err and "--config.data.path" in err and "The table is gone." in err
    assert not any(tmp_path.iterdir())


def test_an_export_is_evaluated(exports, finished_run, tmp_path, capsys):
    folder = exports("tflite")
    flags = ["--workdir", str(finished_run), "--workdir", str(folder), "--json", str(tmp_path / "m.json")]
    assert evaluate.main(flags) == 0
    run, exported = json.loads((tmp_path / "m.json").read_text())
    decodes = exported["assessment"]["decodes"]
    assert list(decodes) == ["conditional"]
    for score in ("path_accuracy", "hierarchical_f1"):
        assert decodes["conditional"][score] == pytest.approx(run["assessment"]["decodes"]["conditional"][score])
    assert exported["tests"]["path"]["only_a"] == exported["tests"]["path"]["only_b"] == 0
    assert exported["parameters"] == run["parameters"] and exported["step"] == run["step"]
    assert exported["assessment"]["levels"]["sub"]["temperature"] is None
    assert "calibrated and made to agree" in capsys.readouterr().out


def test_an_export_of_a_run_without_temperatures_says_so(finished_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(making, "COMPARED_IMAGES", 40)
    run, folder = tmp_path / "run", tmp_path / "export"
    shutil.copytree(finished_run, run)
    (run / "calibration.json").unlink()
    assert export.main(arguments(run, folder, "tflite", "--config.eval_flip=true")) == 0
    card = (folder / "card.md").read_text()
    assert "another eval_flip than the export" in card and "model-index" not in card
    assert "probabilities, not calibrated" in card and "with its preprocessing and decoding inside" in card
    assert f"{run} has no calibration.json, so the probabilities are not calibrated." in capsys.readouterr().out
    assert evaluate.main(["--workdir", str(folder)]) == 0
    assert "probabilities are not calibrated, but have been made to agree" in capsys.readouterr().out
    fj.load(folder)
    assert f"{folder} is not calibrated: its run had no calibration.json." in capsys.readouterr().err


def test_temperatures_of_other_predictions_are_told_as_by_load(finished_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(making, "COMPARED_IMAGES", 4)
    monkeypatch.setattr(check_images, "load_split", gone)
    run, folder = tmp_path / "run", tmp_path / "export"
    shutil.copytree(finished_run, run)
    path = run / "calibration.json"
    before, after = path.read_text(), json.dumps(json.loads(path.read_text()) | {"step": 3})

    def loaded(*arguments):
        """Loads the checkpoint while the training goes on, which then writes other temperatures."""
        trained = load_trained(*arguments)
        path.write_text(after)
        return trained

    monkeypatch.setattr(making, "load_trained", loaded)
    path.write_text(after)
    fj.load(run, overrides={"eval_flip": True})
    path.write_text(before)
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == 2 and "step 3" in notes[0] and "eval_flip" in notes[1]
    assert export.main(arguments(run, folder, "stablehlo", "--config.eval_flip=true")) == 0
    out, card = capsys.readouterr().out, (folder / "card.md").read_text()
    index = json.loads((folder / "export.json").read_text())
    assert out.splitlines()[:2] == notes and " ".join(notes) in card
    assert not index["calibrated"] and index["calibration_note"] == " ".join(notes)
    assert "probabilities, not calibrated for these predictions" in card and "temperatures and decoding inside" in card
    assert "The table is gone." in out and "The table is gone." not in card
    assert "in float32. Its images are 4 generated." in card
    assert "temperatures that were fitted to other predictions" in load_evaluated(folder).note


def test_compiled_programs_of_an_export_are_kept_in_the_cache_that_is_named(
    exports, photos, catalogue_cache, tmp_path, monkeypatch
):
    used, folder, cache = [], exports("stablehlo"), f"--config.data.cache_dir={catalogue_cache}"
    monkeypatch.setattr("fashion_jax.devices.compilation_cache.enable_compilation_cache", used.append)
    fj.load(folder)
    fj.load(folder, overrides={"data.cache_dir": Path(catalogue_cache)})
    demo._load(*demo.parse(["--workdir", str(folder), cache]))
    files = ["--input", photos[0], "--output", str(tmp_path / "p.csv")]
    assert predict.main(["--workdir", str(folder), *files, cache]) == 0
    assert evaluate.main(["--workdir", str(folder), cache]) == 0
    assert used == ["", *[catalogue_cache] * 4]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--report", "report"], "--report"),
        (["--checkpoint=latest"], "--checkpoint"),
        (["--config.eval_flip=true"], "eval_flip"),
        (["--config.data.resize=crop"], "data.resize"),
        (["--config.data.source=csv"], "--config.data.path"),
    ],
)
def test_what_an_export_cannot_say_is_told(exports, capsys, flags, said):
    folder = exports("tflite")
    capsys.readouterr()  # what making it has printed
    assert evaluate.main(["--workdir", str(folder), *flags]) == 2
    captured = capsys.readouterr()
    assert said in captured.err and "export" in captured.err and not captured.out


def test_an_export_that_answers_otherwise_is_not_left(exports, finished_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(making, "COMPARED_IMAGES", 4)
    monkeypatch.setattr(check, "PROBABILITY", 0.0)
    assert export.main(arguments(finished_run, tmp_path / "new", "tflite")) == 1
    assert "a probability differs by" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_an_earlier_export_is_replaced_and_nothing_else(exports, finished_run, tmp_path, capsys):
    for output, said in ((finished_run, "no export"), (finished_run / "config.json", "no folder")):
        assert export.main(arguments(finished_run, output, "tflite")) == 2
        assert "--output" in (err := capsys.readouterr().err) and said in err
    folder = exports("tflite")
    (folder / "notes.txt").touch()
    assert export.main(arguments(finished_run, folder, "tflite")) == 2
    assert "notes.txt" in capsys.readouterr().err
    (folder / "notes.txt").unlink()


def test_a_card_that_was_completed_is_kept(finished_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(making, "COMPARED_IMAGES", 4)
    folder, call = tmp_path / "export", arguments(finished_run, tmp_path / "export", "stablehlo")
    assert export.main(call) == 0 and "card.md.old" not in capsys.readouterr().out
    written = (folder / "card.md").read_text()
    (folder / "card.md").write_text(f"license: mit\n{written}")
    assert export.main(call) == 0 and f"{folder / 'card.md.old'} is the card that" in capsys.readouterr().out
    assert (folder / "card.md.old").read_text() == f"license: mit\n{written}"
    assert not (folder / "card.md").read_text().startswith("license") and fj.load(folder)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "--workdir is missing"),
        (["--workdir", "RUN"], "--output is missing"),
        (["--workdir", "RUN", "--output", "x"], "--format is missing"),
        (["--workdir", "RUN", "--output", "x", "--format", "pickle"], "pickle"),
        (["--workdir", "RUN", "--output", "x", "--format", "onnx", "--int8"], "--int8 is for --format tflite"),
        (["--workdir", "RUN", "--output", "x", "--format", "tflite", "--config.batch_size=3"], "batch_size"),
        (["--workdir", "nothing", "--output", "x", "--format", "tflite"], "holds no run"),
        (
            ["--workdir", "RUN", "--output", "x", "--format", "tflite", "--int8", "--config.data.source=csv"],
            "data.path",
        ),
        (["--workdir", "RUN", "--output", "x", "--format", "tflite", "--config.data.source=csv"], "data.path"),
        (["--workdir", "RUN", "--output", "x", "--format", "tflite", "--images", "a.png", "b"], "--images is a.png b,"),
        (
            ["--workdir", "RUN", "--output", "x", "--format", "tflite", "--images", "RUN"],
            "where no image can be decoded",
        ),
    ],
)
def test_a_wrong_call_is_told_in_a_sentence(finished_run, monkeypatch, tmp_path, capsys, flags, said):
    monkeypatch.chdir(tmp_path)
    assert export.main([str(finished_run) if flag == "RUN" else flag for flag in flags]) == 2
    captured = capsys.readouterr()
    assert said in captured.err and len(captured.err.splitlines()) == 1 and not captured.out
    assert not os.listdir(tmp_path)


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_read(finished_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("fashion_jax.serving.exports.making.read_taxonomy", None)
    (tmp_path / "file").touch()
    assert export.main(arguments(finished_run, tmp_path / "file" / "export", "stablehlo")) == 2
    assert re.search(r"--output is '.*file/export', which cannot be written", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("name", "library", "extras"),
    [("tflite", "ai_edge_litert", "[tflite]"), ("onnx", "onnxruntime", "[onnx]"), ("savedmodel", "tensorflow", "")],
)
def test_a_library_that_is_not_installed_is_named(finished_run, tmp_path, monkeypatch, capsys, name, library, extras):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert export.main(arguments(finished_run, tmp_path / "x", name)) == 2
    said = capsys.readouterr().err
    assert f"needs {library}, which is not installed: install" in said
    assert f"by pip install -c constraints.txt -e '.{extras}' in its repository." in said


def test_the_card_says_what_the_model_is(exports, finished_run):
    _, front, text = (exports("tflite") / "card.md").read_text().split("---\n", 2)
    fields = yaml.safe_load(front)
    assert fields["pipeline_tag"] == "image-classification" and "tflite" in fields["tags"] and "license" not in fields
    metrics = {x["name"]: x["value"] for x in fields["model-index"][0]["results"][0]["metrics"]}
    assert f"{metrics['accuracy of sub by itself']:.3f} (" in text and "160 of the split `train`" in text
    run = load_trained(finished_run)
    images = check_images.find_check_images(finished_run, run.config, run.taxonomy, 40).canvases
    np.testing.assert_array_equal(read_test_vectors(exports("tflite"))["images"], images[check_images.spread(40, 16)])
    assert "16 of the validation split: whoever publishes this folder publishes these" in text
    assert "Apparel / Topwear" in text and str(Path.home()) not in text
