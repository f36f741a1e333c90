"""Files and folders appear whole or not at all, whatever was planted where they are written."""

import errno
import os
import re
import stat

import pytest

from fashion_jax import atomic
from fashion_jax.errors import RunError, UserError


@pytest.fixture
def victim(tmp_path):
    """A file that no write may touch, outside of the folder that is written to."""
    path = tmp_path / "victim"
    path.write_text("precious")
    yield path
    assert path.read_text() == "precious"


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    return path


def test_a_file_is_replaced_whole_or_not_at_all(folder):
    path = folder / "data.json"
    atomic.write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        atomic.write_text(path, "new \ud800")
    with pytest.raises(ZeroDivisionError), atomic.replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    atomic.write_text(path, "new")
    assert path.read_text() == "new" and list(folder.iterdir()) == [path]


def test_a_folder_appears_whole_or_not_at_all(folder):
    path = folder / "report"
    with pytest.raises(ZeroDivisionError), atomic.replacing_folder(path) as temporary:
        (temporary / "index.html").touch()
        raise ZeroDivisionError
    assert list(folder.iterdir()) == []
    for name in ("old.html", "new.html"):
        with atomic.replacing_folder(path) as temporary:
            (temporary / name).touch()
    assert list(folder.iterdir()) == [path] and os.listdir(path) == ["new.html"]


def test_a_copy_that_fails_is_about_the_file_that_is_written(folder):
    full = pytest.raises((UserError, RunError), match=r"report.*No space left on device")
    with full, atomic.replacing_folder(folder / "report") as temporary:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/elsewhere/source", None, str(temporary / "copy"))


def test_a_folder_that_another_process_has_made_meanwhile_stays(folder):
    path = folder / "cache"
    with atomic.replacing_folder(path, stays=lambda path: (path / "theirs").exists()) as temporary:
        (temporary / "mine").touch()
        path.mkdir()
        (path / "theirs").touch()
    assert os.listdir(folder) == ["cache"] and os.listdir(path) == ["theirs"]


def test_a_link_at_the_destination_is_replaced_and_not_followed(folder, victim):
    for name in ("file", "folder"):
        (folder / name).symlink_to(victim)
    atomic.write_text(folder / "file", "mine")
    with atomic.replacing_folder(folder / "folder"):
        pass
    assert not (folder / "file").is_symlink() and (folder / "file").read_text() == "mine"
    assert not (folder / "folder").is_symlink() and (folder / "folder").is_dir()


@pytest.mark.parametrize("write", [lambda path: atomic.write_text(path, "x"), lambda path: open_folder(path)])
def test_a_link_under_the_name_of_the_temporary_is_not_followed(folder, victim, monkeypatch, write):
    """Nobody can foresee the name; and even then the file is created exclusively."""
    monkeypatch.setattr(atomic.secrets, "token_hex", lambda count: "0" * 16)
    (folder / f".data.json.{'0' * 16}.tmp").symlink_to(victim)
    with pytest.raises(UserError, match=r"data\.json cannot be written"):
        write(folder / "data.json")
    assert not (folder / "data.json").exists()


def open_folder(path):
    with atomic.replacing_folder(path):
        pass


def test_the_permissions_are_those_of_the_umask(folder):
    before = os.umask(0o027)
    try:
        atomic.write_text(folder / "file", "")
        open_folder(folder / "folder")
        atomic.append_line(folder / "lines", "")
    finally:
        os.umask(before)
    assert {name: stat.S_IMODE((folder / name).stat().st_mode) for name in ("file", "folder", "lines")} == {
        "file": 0o640,
        "folder": 0o750,
        "lines": 0o640,
    }


@pytest.mark.parametrize("name", ["x" * 255, "鞋" * 85])
def test_the_longest_names_can_be_written(folder, name):
    atomic.write_text(folder / name, "x")
    assert os.listdir(folder) == [name]


def test_lines_are_appended(folder):
    for line in ("1", "鞋"):
        atomic.append_line(folder / "lines", line)
    assert (folder / "lines").read_text(encoding="utf-8") == "1\n鞋\n"


def test_lines_are_not_appended_through_a_link(folder, victim):
    (folder / "lines").symlink_to(victim)
    with pytest.raises(UserError, match=r"lines cannot be written \(it is a link\): move it away"):
        atomic.append_line(folder / "lines", "x")


def test_nothing_waits_for_a_pipe(folder):
    os.mkfifo(folder / "pipe")
    with pytest.raises(UserError, match=r"pipe cannot be written \(it is a pipe\)"):
        atomic.append_line(folder / "pipe", "x")
    with pytest.raises(OSError, match="it is a pipe"):
        atomic.read_text(folder / "pipe")


def test_a_folder_where_a_file_belongs_is_named(folder):
    (folder / "config.json").mkdir()
    with pytest.raises(UserError, match=r"config\.json cannot be written \(it is a folder\): move it away"):
        atomic.write_text(folder / "config.json", "x")
    assert os.listdir(folder) == ["config.json"]


def test_a_folder_that_is_not_there_is_named(folder):
    with pytest.raises(UserError, match=r"gone/file cannot be written \(No such file or directory\): make its folder"):
        atomic.write_text(folder / "gone" / "file", "x")


@pytest.mark.parametrize(
    ("number", "kind", "way_out"),
    [
        (errno.ENOSPC, RunError, "make room"),
        (errno.EDQUOT, RunError, "make room"),
        (errno.EIO, RunError, "check the disk"),
        (errno.EROFS, UserError, "make it writable"),
        (errno.EACCES, UserError, "make it writable"),
    ],
)
def test_the_sentence_has_the_name_the_reason_and_the_way_out(folder, number, kind, way_out):
    path = folder / "predictions.csv"
    with pytest.raises(kind) as raised, atomic.replacing(path):
        raise OSError(number, f"[Errno {number}] what a library makes of it")
    sentence = f"{path} cannot be written ({os.strerror(number)}): {way_out}"
    assert str(raised.value).startswith(sentence) and str(raised.value).endswith(".")
    assert str(atomic.unwritable(path, OSError(number, "x"), "name another --output")).endswith(
        f"({os.strerror(number)}): name another --output."
    )
    assert list(folder.iterdir()) == []


def test_an_error_about_another_file_is_not_taken_for_one_of_the_destination(folder):
    with pytest.raises(FileNotFoundError, match=re.escape("photo.jpg")), atomic.replacing(folder / "file"):
        (folder / "photo.jpg").read_bytes()


def test_what_a_file_holds_that_cannot_be_read_is_told(folder):
    (folder / "bad").write_bytes(b"\xff")
    for path, reason in ((folder / "bad", "decode"), (folder / "gone", "No such file"), (folder, "it is a folder")):
        with pytest.raises((OSError, UnicodeDecodeError)) as raised:
            atomic.read_text(path)
        sentence = str(atomic.unreadable(path, raised.value, "restore it"))
        assert sentence.startswith(f"{path} cannot be read (") and reason in sentence
        assert sentence.endswith("): restore it.")
    assert "KeyError: 'levels'" in str(atomic.unreadable(folder, KeyError("levels"), "restore it"))


def test_what_killed_processes_have_left_is_removed(folder, victim):
    left = [f".{name}.{'0f' * 8}.tmp" for name in ("config.json", "report")]
    (folder / left[0]).symlink_to(victim)
    (folder / left[1]).mkdir()
    others = ["config.json", ".config.json.tmp", ".notes.0f0f.tmp", f"x.{'0f' * 8}.tmp"]
    for name in others:
        (folder / name).touch()
    atomic.remove_temporaries(folder, "report", older_than=60)
    assert len(os.listdir(folder)) == 6
    atomic.remove_temporaries(folder, "report")
    assert sorted(os.listdir(folder)) == sorted([left[0], *others])
    atomic.remove_temporaries(folder)
    assert sorted(os.listdir(folder)) == sorted(others)
    atomic.remove_temporaries(folder / "gone")


def test_kinds(folder):
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("nowhere")
    kinds = {"": "a folder", "pipe": "a pipe", "link": "a link", "gone": None}
    assert {name: atomic.kind_of(folder / name) for name in kinds} == kinds
