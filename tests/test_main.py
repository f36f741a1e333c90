"""The command line: exit statuses, and one sentence for every mistake."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fashion_jax import main as command
from fashion_jax.config.loading import config_to_json, load_config
from fashion_jax.errors import RunError
from fashion_jax.main import main
from tests.shop import products, write_shop, write_table

ROOT = Path(__file__).parent.parent
SMOKE = str(ROOT / "configs" / "smoke.py")


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    """Runs main with wrong arguments; returns the one line it prints on stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        assert main(list(arguments)) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and err.endswith("\n")
        assert "Traceback" not in err and "Error:" not in err.replace("SyntaxError:", "")
        return err

    return run


@pytest.fixture
def shop(tmp_path):
    """Returns a folder of 40 products with split files: 32 to train, 8 to validate."""
    folder = tmp_path / "shop"
    write_shop(folder, products(40))
    (folder / "train.txt").write_text("\n".join(map(str, range(32))))
    (folder / "validation.txt").write_text("\n".join(map(str, range(32, 40))))
    return folder


@pytest.fixture
def refused_shop(refused, shop, tmp_path):
    """Runs main with the config of the shop and wrong arguments, like `refused`."""

    def run(*arguments: str) -> str:
        splits = "--config.data.splits={'train': 'train.txt', 'validation': 'validation.txt'}"
        data = [f"--config.data.path={shop}", "--config.data.source=csv", splits, "--config.batch_size=16"]
        workdir = [] if any(argument.startswith("--workdir") for argument in arguments) else ["--workdir=run"]
        sentence = refused("--config", SMOKE, *workdir, *data, *arguments)
        assert not (tmp_path / "run" / "metrics.jsonl").exists()
        return sentence

    return run


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "--config is missing"),
        (["--workdir=x"], "--config is missing"),
        (["--config"], "--config: expected one argument"),
        (["--config", "nothing.py"], "'nothing.py' is not a config file"),
        (["--config", "."], "'.' is not a config file"),
        (["--confg", SMOKE], "There is no flag '--confg'"),
        (["--config", SMOKE, "--epochs=3"], "There is no flag '--epochs'; did you mean --config.num_epochs=3?"),
        (["--config", SMOKE, "--batch-size", "64"], "did you mean --config.batch_size=64?"),
        (["--config", SMOKE, "--wrokdir=x"], "did you mean --workdir?"),
        (["--config", SMOKE, "--workers=4"], "images are decoded on all cores"),
        (["--config", SMOKE, "--config.data.splits={'train': 0.8, 'val': 0.2}"], "did you mean 'validation' by 'val'?"),
        (["--config", SMOKE, "--config.data.splits.val=0.2"], "did you mean 'validation' by 'val'?"),
        ([SMOKE], f"did you mean --config {SMOKE}?"),
        (["--config", SMOKE, "stray"], "There is no flag 'stray'"),
        (["--config", SMOKE, "--config.learing_rate=1"], "did you mean --config.learning_rate=1?"),
        (["--config", SMOKE, "--config.learning_rate"], "--config.learning_rate has no value"),
        (["--config", SMOKE, "--config.learning_rate", "--config.seed=1"], "--config.learning_rate has no value"),
        (["--config", SMOKE, "--config.learning_rate=nan"], "learning_rate is 'nan', but must be a finite number"),
        (["--config", SMOKE, "--config.learning_rate", "-1"], "learning_rate is -1, but must be a finite number"),
        (["--config", SMOKE, "--config.image_size=16"], "image_size is 16, but must be"),
        (["--config", SMOKE, "--config.model.name=resnet51"], "resnet50, vgg16, vgg16_bn, hybrid"),
        (["--config", SMOKE, "--workdir="], "--workdir is empty"),
    ],
)
def test_bad_usage_and_bad_fields(refused, arguments, sentence):
    assert sentence in refused(*arguments)


def test_a_value_cannot_steer_the_terminal(refused):
    assert r"\x1b[31mred\n2" in refused("--config", SMOKE, "--config.augment=\x1b[31mred\n2")


def test_missing_data_is_named(refused_shop, shop):
    assert f"data.path is '{shop}/no'" in refused_shop(f"--config.data.path={shop}/no")
    assert "no.csv" in refused_shop("--config.data.csv=no.csv")
    assert "has no column 'colour'" in refused_shop("--config.data.levels.colour=colour")
    assert "data.splits.validation is" in refused_shop("--config.data.splits.validation=no.txt")
    (shop / "styles.csv").unlink()
    assert "styles.csv" in refused_shop()


def test_a_folder_of_images_that_is_elsewhere_is_named(refused_shop):
    assert "40 of 40 images cannot be used, such as" in refused_shop("--config.data.image=photos/{id}.jpg")


def test_an_empty_split_is_named(refused_shop, shop):
    (shop / "validation.txt").write_text("\n")
    assert "The split 'validation' has no images" in refused_shop()


def test_an_id_in_two_splits_is_named(refused_shop, shop):
    (shop / "validation.txt").write_text("32\n7\n33\n")
    assert "The id '7' stands in the splits 'train' and 'validation'" in refused_shop()


def test_a_batch_larger_than_the_training_split_is_refused(refused_shop):
    assert "batch_size is 64, but the training split has only 32 images" in refused_shop("--config.batch_size=64")


def test_a_batch_that_the_devices_cannot_share_is_refused(refused_shop):
    sentence = refused_shop("--config.batch_size=12")
    assert "batch_size is 12, but must be a multiple of the 8 devices" in sentence


def test_a_class_of_a_users_taxonomy_without_training_images_is_refused(refused_shop, tmp_path):
    (tmp_path / "taxonomy.json").write_text(
        '{"levels": ["main", "sub"], "classes": {"main": ["Apparel", "Toys"], "sub": ["Apparel/Dress", "Toys/Ball"]},'
        ' "parents": {"main": [], "sub": [0, 1]}}'
    )
    sentence = refused_shop("--config.data.taxonomy=taxonomy.json")
    assert "The class 'Toys'" in sentence and "no training images" in sentence


@pytest.mark.parametrize(
    ("workdir", "why"),
    [
        ("file", "is a file"),
        ("file/run", "cannot be written (Not a dir"),
        ("r" * 300, "cannot be written (File name too long)"),
    ],
)
def test_a_workdir_that_cannot_be_written_is_refused(refused_shop, tmp_path, workdir, why):
    (tmp_path / "file").touch()
    assert f"--workdir is '{workdir}', which {why}" in refused_shop(f"--workdir={workdir}")


def test_the_workdir_of_another_run_is_refused(refused_shop, shop, tmp_path):
    config = load_config(SMOKE)
    config.data.source, config.data.path, config.batch_size = "csv", str(shop), 16
    config.data.splits, config.momentum = {"train": "train.txt", "validation": "validation.txt"}, 0.5
    begin(tmp_path / "run", config)
    assert "momentum is 0.9, but the run in run has 0.5" in refused_shop()
    (tmp_path / "run" / "config.json").write_text("{")
    assert "run/config.json is not the config of a run" in refused_shop()
    (tmp_path / "run" / "config.json").write_bytes(b"\xff")
    assert "run/config.json cannot be read" in refused_shop()


def test_data_of_other_classes_in_the_same_workdir_is_refused(refused_shop, shop, tmp_path):
    begin(tmp_path / "run", load_shop_config(shop))
    (tmp_path / "run" / "taxonomy.json").write_text(
        '{"levels": ["main", "sub"], "classes": {"main": ["A"], "sub": ["A/B"]}, "parents": {"main": [], "sub": [0]}}'
    )
    assert "The data has other classes than the run in run" in refused_shop()
    write_table(shop / "styles.csv", [(i, "A", "B") for i, *_ in products(40)])
    (tmp_path / "run" / "taxonomy.json").write_text("[]")
    assert "taxonomy.json is not a taxonomy" in refused_shop()


def begin(workdir: Path, config) -> None:
    """Makes a work directory with a checkpoint; one that has trained nothing may change."""
    (workdir / "checkpoints" / "1").mkdir(parents=True)
    (workdir / "config.json").write_text(config_to_json(config))
    for name in ("taxonomy.json", "data.json"):
        (workdir / name).touch()


def load_shop_config(shop: Path):
    overrides = {"data.path": str(shop), "data.source": "csv", "batch_size": "16"}
    overrides["data.splits"] = "{'train': 'train.txt', 'validation': 'validation.txt'}"
    return load_config(SMOKE, overrides.items())


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (RunError("The loss is nan."), 1, "The loss is nan.\n"),
        (OSError("disk\nfull"), 1, "OSError: disk (run again with --verbose to see where)\n"),
        (KeyboardInterrupt(), 130, "Interrupted: run the same command again.\n"),
    ],
)
def test_failures_are_one_sentence_and_have_their_status(monkeypatch, capsys, error, status, sentence):
    def fail(arguments):
        raise error

    monkeypatch.setattr(command, "_train", fail)
    assert main([]) == status
    assert capsys.readouterr().err == sentence


def test_the_traceback_comes_with_verbose(capsys):
    assert main(["--config", SMOKE, "--config.seed=-1", "--verbose"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err and err.splitlines()[-1].startswith("seed is -1")


def test_help_is_no_failure(capsys):
    assert main(["--help"]) == 0
    assert "--config.FIELD=VALUE" in capsys.readouterr().out


def test_the_workdir_defaults_to_the_name_of_the_config(monkeypatch):
    from fashion_jax.training import train

    calls = []
    monkeypatch.setattr(
        train, "train_and_evaluate", lambda config, workdir, began: calls.append((config.seed, workdir))
    )
    assert main(["--config", SMOKE, "--config.seed=3"]) == 0
    assert main(["--config", SMOKE, "--workdir", "elsewhere"]) == 0
    assert calls == [(3, Path("runs/smoke")), (0, Path("elsewhere"))]


def test_the_workdir_of_a_config_json_is_its_run(finished_run, tmp_path, monkeypatch):
    from fashion_jax.training import train

    calls = []
    monkeypatch.setattr(train, "train_and_evaluate", lambda config, workdir, began: calls.append(workdir))
    for copy in ("mine.json", "export/config.json"):
        (tmp_path / copy).parent.mkdir(exist_ok=True)
        shutil.copy(finished_run / "config.json", tmp_path / copy)
        assert main(["--config", str(tmp_path / copy)]) == 0
    assert main(["--config", str(finished_run / "config.json")]) == 0
    assert calls == [Path("runs/mine"), Path("runs/config"), finished_run]


def test_a_bad_config_is_told_before_anything_heavy_is_imported():
    """The test needs a process of its own, since this one has imported jax."""
    arguments = ["main", "--config", SMOKE, "--config.learning_rate=nan"]
    program = (
        f"import atexit, runpy, sys; sys.argv = {arguments!r}\n"
        "heavy = {'jax', 'tensorflow', 'flax', 'orbax', 'clu'}\n"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules))))\n"
        "runpy.run_module('fashion_jax.main', run_name='__main__')"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, env=dict(os.environ), timeout=600
    )
    assert (result.returncode, result.stdout) == (2, "[]\n")
    assert result.stderr == "learning_rate is 'nan', but must be a finite number above 0.\n"
