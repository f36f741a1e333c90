"""The files and folders of flags: where results go, be it a link, a pipe or standard output."""

import errno
import os
import subprocess
import sys
import tempfile

import pytest

from fashion_jax import atomic
from fashion_jax.command_line.output_files import check_output, folder_of_flag, output
from fashion_jax.errors import RunError, UserError
from tests.conftest import ROOT


def test_a_file_that_the_user_has_named_is_written_through_a_link(tmp_path):
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    for text in ("one", "two"):
        with output(tmp_path / "link.csv") as path:
            atomic.write_text(path, text)
    assert (tmp_path / "link.csv").is_symlink() and (tmp_path / "real.csv").read_text() == "two"


def test_a_pipe_gets_what_is_written_and_stays(tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    (tmp_path / "link.csv").symlink_to(pipe)
    for name in ("pipe.csv", "link.csv"):
        with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
            with output(tmp_path / name) as path:
                assert path.suffix == ".csv"
                atomic.write_text(path, name)
            assert reader.communicate()[0] == name.encode()
    assert atomic.kind_of(pipe) == "a pipe" and sorted(os.listdir(tmp_path)) == ["link.csv", "pipe.csv"]


def test_a_device_that_is_full_is_told(tmp_path):
    (tmp_path / "full.json").symlink_to("/dev/full")
    told = pytest.raises(RunError, match=r"full\.json cannot be written \(No space left on device\)")
    with told, output(tmp_path / "full.json") as path:
        atomic.write_text(path, "x")
    assert (tmp_path / "full.json").is_symlink()


@pytest.mark.parametrize("is_file", [True, False])
def test_standard_output_is_written_to_in_order(tmp_path, is_file):
    """The order holds also if it is redirected to a file, which must not be truncated again."""
    program = (
        "from pathlib import Path\nfrom fashion_jax import atomic\n"
        "from fashion_jax.command_line.output_files import output\n"
        "print('before')\nwith output(Path('/dev/stdout')) as path: atomic.write_text(path, 'json\\n')\nprint('after')"
    )
    command = [sys.executable, "-c", program]
    with (tmp_path / "out").open("w") as file:
        done = subprocess.run(command, cwd=ROOT, stdout=file if is_file else subprocess.PIPE, text=True, check=True)
    assert (done.stdout or (tmp_path / "out").read_text()) == "before\njson\nafter\n"


def test_the_folder_of_a_flag_goes_again_where_the_work_fails(tmp_path):
    (tmp_path / "mine").mkdir()
    for folder in (tmp_path / "mine", tmp_path / "a" / "b"):
        with pytest.raises(ZeroDivisionError), folder_of_flag("--report", folder):
            assert folder.is_dir()
            raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["mine"]
    with folder_of_flag("--report", tmp_path / "a" / "b"), folder_of_flag("--report", None):
        pass
    assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_with_something_in_it_stays(tmp_path):
    with pytest.raises(ZeroDivisionError), folder_of_flag("--report", tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "curves.png").touch()
        raise ZeroDivisionError
    assert (tmp_path / "a" / "b" / "curves.png").exists()


@pytest.mark.parametrize("name", ["file", "file/below", "dangling", "new/" + "x" * 256])
def test_a_flag_whose_folder_cannot_be_made_is_named(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"--report is '.*', which cannot be written \(.+\): name another"):
        folder_of_flag("--report", tmp_path / name).__enter__()
    assert sorted(os.listdir(tmp_path)) == ["dangling", "file"]


def test_a_folder_of_a_flag_that_takes_no_file_is_named(tmp_path, monkeypatch):
    """Its permissions may allow to write although the disk is full, or a server refuses."""

    def refuse(dir, prefix):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(UserError, match=r"--report is '.*new', which cannot be written \(No space left on device\)"):
        folder_of_flag("--report", tmp_path / "new").__enter__()
    assert os.listdir(tmp_path) == []


def test_the_file_of_a_flag_is_checked(tmp_path):
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    (tmp_path / "link.csv").symlink_to("file.csv")
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for good in ("new.csv", "link.csv", "pipe.csv"):
        check_output("--output", tmp_path / good)
    check_output("--output", None)
    for bad, why in {
        "folder.csv": "it is a folder",
        "loop.csv": "Too many levels",
        "gone/x.csv": "gone is no folder",
    }.items():
        with pytest.raises(UserError, match=rf"--output is '.*{bad}', which cannot be written \(.*{why}.*\): name"):
            check_output("--output", tmp_path / bad)
