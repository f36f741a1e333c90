"""Every file is checked once before training: unusable files are named, known ones are not read again."""

import itertools
import json
import os
import shutil

import numpy as np
import pytest

from fashion_jax.config.loading import load_config
from fashion_jax.data.dataset import load_dataset, load_split
from fashion_jax.data.decoding import file_check
from fashion_jax.data.decoding.file_check import check_files, first_unusable
from fashion_jax.data.leaks import find_leaks, leak_warning, without_leaks
from fashion_jax.data.strings import Files, Strings
from fashion_jax.errors import UserError
from fashion_jax.predict import main as predict
from fashion_jax.training.train import train_and_evaluate
from tests.conftest import ROOT
from tests.shop import LABELS, products, shop_config, smallest_image, write_shop, write_table
from tests.zoo import write_zoo


def files_in(folder, count: int = 5) -> Files:
    """Writes good images 0.jpg and so on, of different content."""
    folder.mkdir(exist_ok=True)
    for i in range(count):
        (folder / f"{i}.jpg").write_bytes(smallest_image(str(i)))
    return Files(str(folder), Strings(f"{i}.jpg" for i in range(count)))


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Returns the names of the files that the check reads."""
    names = []

    def noted(file, read=file_check._read):
        names.append(os.path.basename(file))
        return read(file)

    monkeypatch.setattr(file_check, "_read", noted)
    return names


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Returns the folder, and what is expected of each file: pixels, or words of the reason."""
    folder = tmp_path_factory.mktemp("zoo") / "images"
    return folder, write_zoo(folder)


def test_each_broken_file_has_its_reason_and_no_good_one_has(zoo, tmp_path):
    folder, expected = zoo
    names = list(expected)
    checked = check_files(Files(str(folder), Strings(names)), tmp_path)
    bad = {names[i]: reason for i, reason in checked.reasons.items()}
    assert bad.keys() == {name for name in names if isinstance(expected[name], str)}
    for name, reason in bad.items():
        assert expected[name] in reason
    assert [digest == 0 for digest in checked.digests] == [name in bad for name in names]


def test_a_file_of_a_later_chunk_is_the_one_that_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(file_check, "_CHUNK", 2)
    files = files_in(tmp_path / "images", 7)
    (tmp_path / "images" / "3.jpg").write_bytes(b"")
    (tmp_path / "images" / "5.jpg").unlink()
    checked = check_files(files, tmp_path)
    assert checked.reasons == {3: "the file is empty", 5: "there is no such file"}
    assert np.flatnonzero(checked.digests == 0).tolist() == [3, 5]


def test_digests_tell_contents_apart(tmp_path):
    files = files_in(tmp_path / "images")
    (tmp_path / "images" / "4.jpg").write_bytes(smallest_image("0"))
    digests = check_files(files, tmp_path).digests
    assert digests[4] == digests[0] and len(set(digests.tolist())) == 4


def test_copies_are_known_from_one_shared_folder(tmp_path):
    """Names, sizes and times of copies may all be equal."""
    files_in(tmp_path / "images")
    shutil.copytree(tmp_path / "images", tmp_path / "copy")
    names = Strings(f"{i}.jpg" for i in range(5))
    first, again, other = (Files(str(tmp_path / name), names) for name in ("images", "images", "copy"))
    assert os.stat(first[0]).st_mtime_ns == os.stat(other[0]).st_mtime_ns
    assert file_check._identity(first) == file_check._identity(again) != file_check._identity(other)


def test_only_new_changed_and_bad_files_are_read_again(tmp_path, reads):
    folder, cache = tmp_path / "images", tmp_path / "cache"
    files = files_in(folder)
    (folder / "3.jpg").write_bytes(b"no image")
    first = check_files(files, cache)
    assert sorted(reads) == [f"{i}.jpg" for i in range(5)]
    reads.clear()
    again = check_files(files, cache)
    np.testing.assert_array_equal(again.digests, first.digests)
    assert again.reasons == first.reasons and reads == ["3.jpg"]
    reads.clear()
    (folder / "3.jpg").write_bytes(smallest_image("3"))
    changed = (folder / "1.jpg").stat()
    (folder / "1.jpg").write_bytes(smallest_image("x"))  # has the same size
    os.utime(folder / "1.jpg", ns=(changed.st_atime_ns, changed.st_mtime_ns + 1))
    (folder / "2.jpg").unlink()
    assert check_files(files, cache).reasons == {2: "there is no such file"}
    assert sorted(reads) == ["1.jpg", "3.jpg"]


def test_what_is_known_of_other_files_of_the_folder_stays_known(tmp_path, reads):
    files = files_in(tmp_path / "images")
    check_files(files.select([0, 1, 2]), tmp_path)
    check_files(files.select([4, 2]), tmp_path)
    reads.clear()
    check_files(files, tmp_path)
    assert reads == ["3.jpg"]


@pytest.mark.parametrize("damage", [b"", b"PAR1 damaged"])
def test_a_damaged_or_unwritable_cache_costs_time_only(tmp_path, reads, damage):
    files = files_in(tmp_path / "images")
    check_files(files, tmp_path)
    (kept,) = (tmp_path / "checked").iterdir()
    kept.write_bytes(damage)
    assert not check_files(files, tmp_path).reasons and len(reads) == 10
    assert not check_files(files, tmp_path / "images" / "0.jpg").reasons and len(reads) == 15


def test_an_interrupted_check_keeps_what_it_has_found(tmp_path, monkeypatch, reads):
    files = files_in(tmp_path / "images", 6)
    monkeypatch.setattr(file_check, "_READ_TOGETHER", 2)

    def interrupted(file, read=file_check._read):
        if file.endswith("4.jpg"):
            raise KeyboardInterrupt
        return read(file)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(file_check, "_read", interrupted)
        check_files(files, tmp_path)
    reads.clear()
    assert not check_files(files, tmp_path).reasons
    assert sorted(reads) == ["4.jpg", "5.jpg"]


def test_a_check_that_is_killed_keeps_what_it_found_a_minute_ago(tmp_path, monkeypatch, reads):
    """A signal before the first step ends the process at once, and a check of a slow disk takes hours."""
    files = files_in(tmp_path / "images", 6)
    monkeypatch.setattr(file_check, "_READ_TOGETHER", 2)
    monkeypatch.setattr(file_check, "_KEEP_SECONDS", 0.0)
    copied = tmp_path / "killed"

    def seen(file, read=file_check._read):
        if file.endswith("4.jpg"):
            shutil.copytree(tmp_path / "cache", copied)
        return read(file)

    with monkeypatch.context() as patch:
        patch.setattr(file_check, "_read", seen)
        check_files(files, tmp_path / "cache")
    reads.clear()
    assert not check_files(files, copied).reasons
    assert sorted(reads) == ["4.jpg", "5.jpg"]


def test_a_long_check_that_cannot_be_kept_is_told(tmp_path, monkeypatch, capsys):
    files, cache = files_in(tmp_path / "images"), tmp_path / "images" / "0.jpg"
    check_files(files, cache)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(file_check, "_KEEP_SECONDS", 0.0)
    monkeypatch.setattr(file_check, "_READ_TOGETHER", 2)
    sometimes = itertools.chain(["No space left on device"], itertools.repeat(""))
    with monkeypatch.context() as patch:
        patch.setattr(file_check, "write_known", lambda *_: next(sometimes))
        check_files(files, cache)
    assert capsys.readouterr().err == ""
    check_files(files, cache)
    told = f"Warning: the check of 5 files could not be kept in '{cache}' (Not a directory), so that each start"
    assert told in capsys.readouterr().err


def test_the_first_file_that_is_broken_after_the_check_is_found(tmp_path):
    files = files_in(tmp_path / "images")
    assert first_unusable(files) is None
    whole = (tmp_path / "images" / "3.jpg").read_bytes()
    (tmp_path / "images" / "3.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "images" / "4.jpg").unlink()
    file, reason = first_unusable(files)
    assert file.endswith("/3.jpg") and "damaged" in reason


def shop(folder, bad: dict[int, bytes], **data):
    """Writes 40 products in two splits, the files of some with other contents."""
    rows = [(*row, "train" if i < 30 else "validation") for i, row in enumerate(products(40))]
    write_shop(folder, rows, ("id", "masterCategory", "subCategory", "fold"))
    for i, content in bad.items():
        (folder / "images" / f"{i}.jpg").write_bytes(content)
    return shop_config(folder, splits="fold", cache_dir=str(folder / "cache"), **data)


def test_bad_files_are_left_out_by_reason_and_too_many_stop_the_run(tmp_path):
    config = shop(tmp_path, {2: b"", 5: b"no image", 33: b"", 7: b"no image"}, max_bad_fraction=0.1)
    summary = load_dataset(config).summary(8)
    assert summary["left_out"] == {
        "the file is empty": ["2 (line 4)", "33 (line 35)"],
        "this is no image of the kinds JPEG, PNG, GIF, BMP, TIFF, WebP, AVIF": ["5 (line 7)", "7 (line 9)"],
    }
    assert (summary["splits"]["train"]["images"], summary["splits"]["validation"]["images"]) == (27, 9)
    config.data.max_bad_fraction = 0.05
    with pytest.raises(UserError) as error:
        load_dataset(config)
    for words in (
        "4 of 40",
        "2.jpg (line 4: the file is empty)",
        "5.jpg (line 7: this is no image",
        "7.jpg (",
        "data.max_bad_fraction",
    ):
        assert words in str(error.value)
    assert "33.jpg" not in str(error.value)


def test_the_same_image_in_two_splits_is_counted_and_may_be_dropped(tmp_path):
    config = shop(tmp_path, {31: smallest_image("4"), 36: smallest_image("9"), 6: smallest_image("9")})
    dataset = load_dataset(config)
    leaks = {"train and validation": [["4", "31"], ["6", "36"], ["9", "36"]]}
    assert dataset.leaks == leaks and len(dataset.splits["train"]) == 30
    assert dataset.summary(8)["leaks"] == {"train and validation": {"images": 3, "ids": leaks["train and validation"]}}
    assert json.loads(json.dumps(dataset.summary(8))) == dataset.summary(8)
    warning = leak_warning(dataset.leaks, dropped=False)
    assert warning.count("\n") == 0 and "3 of train and validation (such as 4 = 31)" in warning
    config.data.drop_leaks = True
    dropped = load_dataset(config)
    assert dropped.left_out == {"in another split too": ["4", "6", "9"]}
    assert (len(dropped.splits["train"]), len(dropped.splits["validation"])) == (27, 10)
    assert len(load_split(config, dropped.taxonomy, "train")) == 27
    assert leak_warning({}, dropped=True) == ""
    one = leak_warning({"train and validation": [["4", "31"]]}, dropped=True)
    assert one.startswith("Warning: the same image is in two splits: 1 of train and validation (")
    assert one.endswith("; data.drop_leaks has left it out of training.")
    other = {"validation and test": [["5", "6"]]}
    assert leak_warning(other, dropped=False).endswith("in two splits: 1 of validation and test (such as 5 = 6).")
    both = leak_warning(other | {"train and test": [["4", "6"]]}, dropped=False)
    assert both.endswith("; set data.drop_leaks to True to leave those of train out of training.")


def test_an_image_of_two_splits_leaves_training_whichever_is_named_first(tmp_path):
    files = [str(tmp_path / f"{i}.jpg") for i in range(4)]
    for i, content in enumerate((b"a", b"b", b"a", b"c")):
        (tmp_path / f"{i}.jpg").write_bytes(content)
    assigned = {"validation": np.array([2, 3]), "train": np.array([0, 1])}
    leaks = find_leaks(files, np.array([7, 8, 7, 9], np.uint64), assigned)
    assert leaks == {("train", "validation"): [(0, 2)]}
    left, dropped = without_leaks(assigned, leaks)
    assert {name: images.tolist() for name, images in left.items()} == {"validation": [2, 3], "train": [1]}
    assert dropped.tolist() == [0]


@pytest.mark.usefixtures("no_report")
def test_training_and_predicting_on_the_zoo(zoo, tmp_path):
    """Every good file is trained on, every other one is named in data.json; prediction says the same of each."""
    folder, expected = zoo
    names = [name for name in expected if name.isprintable()]
    splits = ["validation" if i % 4 == 3 else "train" for i in range(len(names))]
    rows = [(name, *LABELS[i % 3], split) for i, (name, split) in enumerate(zip(names, splits, strict=True))]
    write_table(tmp_path / "table.csv", rows, ("id", "masterCategory", "subCategory", "fold"))
    config = load_config(str(ROOT / "configs" / "smoke.py"))
    config.batch_size, config.num_epochs, config.data.source, config.data.path = 8, 1, "csv", str(folder.parent)
    config.data.csv, config.data.image, config.data.splits = str(tmp_path / "table.csv"), "images/{id}", "fold"
    config.data.max_bad_fraction, config.data.cache_dir = 0.5, str(tmp_path / "cache")
    train_and_evaluate(config, tmp_path / "run")
    found = json.loads((tmp_path / "run" / "data.json").read_text())["left_out"]
    left_out = {reason: [name.rpartition(" (line ")[0] for name in ids] for reason, ids in found.items()}
    bad = {name for name in names if isinstance(expected[name], str)}
    assert {name for ids in left_out.values() for name in ids} == bad

    output = tmp_path / "predictions.jsonl"
    names.remove("folder.jpg")  # as an input it stands for the files in it, and it has none
    inputs = [str(folder / name) for name in names]
    assert predict(["--workdir", str(tmp_path / "run"), "--input", *inputs, "--output", str(output)]) == 0
    predictions = [json.loads(line) for line in output.read_text().splitlines()]
    for name, row in zip(names, predictions, strict=True):
        assert (row["error"] in left_out and name in left_out[row["error"]]) if name in bad else row["error"] == ""
    same = [row["sub_probability"] for row in predictions if expected_is(expected, row["path"], "rgb.png")]
    assert len(same) > 1 and max(same) - min(same) < 1e-6  # rows of a batch may be rounded differently


def expected_is(expected, path: str, other: str) -> bool:
    """Returns whether a lossless file shows the same picture as another."""
    name = os.path.basename(path)
    if name.endswith((".jpg", ".avif")) or name.startswith("lossy") or isinstance(expected[name], str):
        return False
    return np.array_equal(expected[name], expected[other])


def test_an_image_that_can_no_longer_be_read_is_named_where_leaks_are_looked_for(tmp_path):
    files = [str(tmp_path / name) for name in ("a.png", "b.png")]
    (tmp_path / "a.png").write_bytes(b"x")
    assigned = {"train": np.array([0]), "validation": np.array([1])}
    with pytest.raises(UserError, match=r"The image '.*b\.png' cannot be used \(there is no such file\)"):
        find_leaks(files, np.array([7, 7], np.uint64), assigned)
