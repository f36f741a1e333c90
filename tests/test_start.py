"""A start decides whether it resumes the run that a directory holds, by its id, its files and its checkpoints."""

import json
import shutil
from pathlib import Path

import pytest

from fashion_jax.errors import UserError
from fashion_jax.evaluate import main as evaluate
from fashion_jax.training.train import train_and_evaluate
from fashion_jax.workdir.checkpoints.digests import _digest, read_saved

pytestmark = pytest.mark.usefixtures("no_report")


@pytest.fixture
def run(finished_run, tmp_path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def label(workdir: Path, step: int) -> dict:
    return read_saved(workdir / "checkpoints" / str(step)).label


def of_before(workdir: Path) -> None:
    """Turns a run into one of earlier versions, whose checkpoints carry no id."""
    for path in workdir.glob("checkpoints/*/digests/metadata"):
        arrays = json.loads(path.read_text())["arrays"]
        path.write_text(json.dumps({"arrays": arrays, "digest": _digest(arrays, None)}))
    environment = json.loads((workdir / "environment.json").read_text())
    del environment["run"], environment["starts"][0]["data"]
    (workdir / "environment.json").write_text(json.dumps(environment))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def files(workdir: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file() and path.name != "lock"}


def test_every_checkpoint_carries_the_run_and_its_step(run, tiny_config):
    known = json.loads((run / "environment.json").read_text())["run"]
    assert known["since"] == 0
    for step in (10, 20):
        carried = label(run, step)
        assert (carried["run"], carried["step"]) == (known["id"], step)
        assert carried["config"]["learning_rate"] == tiny_config.learning_rate
        assert not {"num_epochs", "data.path"} & carried["config"].keys()
    tiny_config.num_epochs = 3
    train_and_evaluate(tiny_config, run)
    assert json.loads((run / "environment.json").read_text())["run"] == known
    assert label(run, 30)["run"] == known["id"]


def test_a_run_of_before_gets_an_id_and_goes_on(run, tiny_config):
    of_before(run)
    assert evaluate([f"--workdir={run}"]) == 0
    tiny_config.num_epochs = 3
    train_and_evaluate(tiny_config, run)
    known = json.loads((run / "environment.json").read_text())["run"]
    assert known["since"] == 21
    assert label(run, 30)["run"] == known["id"] and label(run, 20) == {}
    shutil.copytree(run / "checkpoints" / "20", run / "checkpoints" / "40")
    with pytest.raises(UserError, match="the folder 40 holds step 20"):
        train_and_evaluate(tiny_config, run)


@pytest.mark.parametrize("without_label", [False, True])
def test_a_step_of_another_run_is_refused(run, tiny_config, tmp_path, capsys, without_label):
    """So is one of a version that wrote no ids, if the run has had one from its beginning."""
    other = Path(shutil.copytree(run, tmp_path / "other"))
    if without_label:
        of_before(other)
    else:
        edit(run / "environment.json", '"id": "', '"id": "' + "0" * 32 + '", "was": "')
        for step in (10, 20):
            _relabel(run, step, run="0" * 32)
    shutil.rmtree(run / "checkpoints" / "20")
    shutil.copytree(other / "checkpoints" / "20", run / "checkpoints" / "20")
    before = files(run)
    with pytest.raises(UserError, match=r"of the steps 20 in .* are of another run .*remove"):
        train_and_evaluate(tiny_config, run)
    assert files(run) == before
    assert evaluate([f"--workdir={run}", "--checkpoint=latest"]) == 2
    assert "are of another run" in capsys.readouterr().err


def _relabel(workdir: Path, step: int, **fields) -> None:
    path = workdir / "checkpoints" / str(step) / "digests" / "metadata"
    found = json.loads(path.read_text())
    found["label"] |= fields
    path.write_text(json.dumps(found | {"digest": _digest(found["arrays"], found["label"])}))


def test_without_environment_json_the_checkpoints_know_their_run(run, tiny_config, capsys):
    known = label(run, 20)["run"]
    (run / "environment.json").write_text("{")
    train_and_evaluate(tiny_config, run)
    assert "environment.json is missing or damaged" in capsys.readouterr().out
    assert json.loads((run / "environment.json").read_text())["run"] == {"id": known, "since": 0}
    _relabel(run, 10, run="0" * 32)
    (run / "environment.json").unlink()
    with pytest.raises(UserError, match=r"checkpoints of several runs \(0{32}, .*restore it, or remove"):
        train_and_evaluate(tiny_config, run)


@pytest.mark.parametrize("name", ["config.json", "taxonomy.json", "data.json"])
def test_a_file_that_a_run_is_known_by_is_missed(run, tiny_config, name):
    (run / name).unlink()
    before = files(run)
    with pytest.raises(UserError, match=rf"{name} is missing.*restore it"):
        train_and_evaluate(tiny_config, run)
    assert files(run) == before


@pytest.mark.parametrize("kept", [[], [2], [1, 1, 2], [2, 1]])
def test_lost_lines_of_metrics_are_missed(run, tiny_config, kept):
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[epoch - 1] for epoch in kept))
    before = files(run)
    with pytest.raises(UserError, match=r"metrics\.jsonl must have one line for each of the 2 epochs .*restore it"):
        train_and_evaluate(tiny_config, run)
    assert files(run) == before


def test_without_checkpoints_it_is_told_that_training_begins_anew(run, tiny_config, capsys):
    shutil.rmtree(run / "checkpoints")
    tiny_config.num_epochs = 1
    train_and_evaluate(tiny_config, run)
    assert "No checkpoint is left" in capsys.readouterr().out


def test_a_config_that_was_edited_is_not_that_of_the_checkpoint(run, tiny_config, capsys):
    edit(run / "config.json", '"learning_rate": 0.01,', '"learning_rate": 0.5,')
    tiny_config.learning_rate = 0.5
    with pytest.raises(UserError, match=r"learning_rate is 0\.5 in .*config\.json, but .* step 20 .* with 0\.01"):
        train_and_evaluate(tiny_config, run)
    assert evaluate([f"--workdir={run}"]) == 2
    assert "learning_rate is 0.5 in" in capsys.readouterr().err


def test_a_field_that_the_data_do_not_depend_on_may_change(run, tiny_config):
    """Earlier versions took it on the command line; now it has to be left out there."""
    tiny_config.data.csv = "labels.csv"  # and the images are drawn
    tiny_config.num_epochs = 3
    assert len(train_and_evaluate(tiny_config, run)) == 3
    assert evaluate([f"--workdir={run}"]) == 0


def test_other_ways_to_predict_are_no_other_config(run):
    assert evaluate([f"--workdir={run}", "--config.eval_flip=true"]) == 0


def test_exchanged_classes_are_noticed(run, tiny_config, capsys):
    names = json.loads((run / "taxonomy.json").read_text())["classes"]["sub"][:2]
    edit(run / "taxonomy.json", names[0], "...")
    edit(run / "taxonomy.json", names[1], names[0])
    edit(run / "taxonomy.json", "...", names[1])
    with pytest.raises(UserError, match="another order or tree"):
        train_and_evaluate(tiny_config, run)
    assert evaluate([f"--workdir={run}"]) == 2
    err = capsys.readouterr().err
    assert "taxonomy.json has other classes than" in err and "restore it" in err


def test_data_that_no_start_has_had_is_noticed(run, tiny_config):
    _relabel(run, 20, data="0" * 64)
    with pytest.raises(UserError, match=r"data\.json and environment\.json tell of other images"):
        train_and_evaluate(tiny_config, run)
