"""Opening the folder of a run: obstacles are reported first, and a failed start leaves things as they were."""

import os
import shutil

import pytest

from fashion_jax.errors import UserError
from fashion_jax.training import loop
from fashion_jax.training.train import train_and_evaluate
from fashion_jax.workdir.opening import check_workdir, opened

FILES = ("config.json", "taxonomy.json", "data.json", "environment.json", "calibration.json", "metrics.jsonl", "lock")
FOLDERS = ("checkpoints", "predictions", "report", "tensorboard", "tensorboard/train")


def plant(path, kind: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a link":
        path.symlink_to(path.parent.parent / "elsewhere")
    else:
        path.touch()


def contents(folder) -> dict:
    """Returns path -> content and inode of everything below a folder."""
    return {
        str(path.relative_to(folder)): (path.read_bytes() if path.is_file() else None, path.lstat().st_ino)
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("leads_somewhere", [True, False])
@pytest.mark.parametrize("kind", ["a file", "a folder", "a pipe", "a link"])
@pytest.mark.parametrize("name", [*FILES, *FOLDERS, "predictions/validation.parquet"])
def test_what_stands_in_the_way_is_told(tmp_path, name, kind, leads_somewhere):
    wanted = "a folder" if name in FOLDERS else "a file"
    if leads_somewhere:
        plant(tmp_path / "elsewhere", wanted)
    plant(tmp_path / "run" / name, kind)
    if kind == wanted:
        check_workdir(tmp_path / "run")
        return
    with pytest.raises(UserError, match=f"{name} is {kind}, where a run has {wanted}: move it away, or use another"):
        check_workdir(tmp_path / "run")


def test_a_folder_of_the_user_that_is_called_report_stays(tmp_path):
    plant(tmp_path / "report" / "thesis.txt", "a file")
    with pytest.raises(UserError, match=r"report has files in it, but .* has no run"):
        check_workdir(tmp_path)
    assert (tmp_path / "report" / "thesis.txt").exists()
    (tmp_path / "config.json").touch()  # of a run, whose page it is
    check_workdir(tmp_path)


def test_a_workdir_that_is_no_folder_is_told(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "good").symlink_to("real")
    check_workdir(tmp_path / "good")
    check_workdir(tmp_path / "new" / "run")
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("gone")
    for name, found in {"file": "a file", "pipe": "a pipe", "dangling": "a link to no folder"}.items():
        with pytest.raises(UserError, match=f"--workdir is '.*{name}', which is {found}: name a folder"):
            check_workdir(tmp_path / name)


def start_and_fail(workdir) -> None:
    """Writes what a start writes before its first step, and fails."""
    with pytest.raises(ZeroDivisionError), opened(workdir, print):
        for name in (*FILES[:4], "metrics.jsonl"):
            (workdir / f".{name}").write_text("new")
            (workdir / f".{name}").rename(workdir / name)
        (workdir / "tensorboard" / "train").mkdir(parents=True, exist_ok=True)
        (workdir / "tensorboard" / "train" / "events.new").touch()
        (workdir / "metrics.jsonl").write_text("")
        (workdir / "checkpoints" / "4.orbax-checkpoint-tmp").mkdir(parents=True)
        raise ZeroDivisionError


def test_a_start_that_fails_leaves_no_folder(tmp_path):
    start_and_fail(tmp_path / "runs" / "new")
    assert os.listdir(tmp_path) == []


def test_a_start_that_fails_leaves_a_folder_that_was_there_as_it_was(tmp_path):
    (tmp_path / "notes.txt").touch()
    plant(tmp_path / "tensorboard" / "train" / "events.old", "a file")
    before = contents(tmp_path)
    start_and_fail(tmp_path)
    assert contents(tmp_path) == before


def test_a_start_removes_the_temporary_files_of_the_run_alone(tmp_path):
    """Another command may be writing its results into the same folder."""
    left = [f".{name}.{'0f' * 8}.tmp" for name in ("report", "metrics.jsonl", "reports", "predictions.csv", "onnx")]
    for name in left:
        (tmp_path / name).touch()
    with opened(tmp_path, print):
        pass
    assert set(left).intersection(os.listdir(tmp_path)) == set(left[2:])


def test_what_has_been_saved_stays(tmp_path):
    for name in ("checkpoints/4", "metrics.jsonl"):
        workdir = tmp_path / name.partition("/")[0]
        with pytest.raises(ZeroDivisionError), opened(workdir, print):
            (workdir / "config.json").touch()
            if name == "metrics.jsonl":
                (workdir / name).write_text('{"step": 4}\n')
            else:
                (workdir / name).mkdir(parents=True)
            raise ZeroDivisionError
        assert (workdir / name).exists() and (workdir / "config.json").exists()


def test_a_folder_in_which_another_process_trains_is_left_alone(tmp_path):
    with opened(tmp_path / "run", print):
        (tmp_path / "run" / "config.json").touch()
        before = contents(tmp_path)
        with pytest.raises(UserError, match="is training"):
            opened(tmp_path / "run", print).__enter__()
        assert contents(tmp_path) == before


def test_a_folder_that_has_taken_the_place_of_the_run_is_left_alone(tmp_path):
    with pytest.raises(ZeroDivisionError), opened(tmp_path / "run", print):
        (tmp_path / "run").rename(tmp_path / "moved")
        for name in (*FILES, "checkpoints/events"):
            plant(tmp_path / "run" / name, "a file")
        before = contents(tmp_path / "run")
        raise ZeroDivisionError
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("change", [{"data.path": "gone"}, {"data.levels": ("main", "gone")}, {"model.name": "gone"}])
def test_no_mistake_leaves_a_folder(tiny_config, tmp_path, change):
    tiny_config.update_from_flattened_dict({"data.source": "csv", "data.csv": "styles.csv", **change})
    with pytest.raises(UserError):
        train_and_evaluate(tiny_config, tmp_path / "runs" / "new")
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("no_report")
def test_a_resumption_that_fails_leaves_the_run_as_it_was(finished_run, tiny_config, tmp_path, monkeypatch):
    """The first step fails, as it does when a larger batch does not fit into memory."""
    shutil.copytree(finished_run, tmp_path / "run")
    before = {name: content for name, (content, _) in contents(tmp_path).items()}
    tiny_config.num_epochs += 1

    def fail(*arguments):
        raise MemoryError("out of memory")

    monkeypatch.setattr(loop, "_steps", fail)
    with pytest.raises(MemoryError):
        train_and_evaluate(tiny_config, tmp_path / "run")
    assert {name: content for name, (content, _) in contents(tmp_path).items()} == before


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("gone", ["report/index.html", "predictions/validation.parquet"])
def test_no_run_is_complete_without_its_results(finished_run, tiny_config, tmp_path, capsys, gone):
    shutil.copytree(finished_run, tmp_path / "run")
    path = tmp_path / "run" / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    lines = train_and_evaluate(tiny_config, tmp_path / "run")
    assert path.exists() and "is complete" not in capsys.readouterr().out
    assert train_and_evaluate(tiny_config, tmp_path / "run") == lines
    assert "is complete" in capsys.readouterr().out
