"""Changes of the data that the next start of a run accepts, and those that it refuses."""

import itertools
import json
import os
import shutil

import numpy as np
import pytest

from fashion_jax.data.dataset import Split, load_dataset
from fashion_jax.data.fingerprint import (
    ImageList,
    changed_contents,
    changed_labels,
    count_common,
    read_counts,
    read_digest,
    read_images,
    write_images,
)
from fashion_jax.data.records.record_files import file_digests
from fashion_jax.data.strings import Strings
from fashion_jax.errors import UserError
from fashion_jax.training.notes import trained_on_earlier
from fashion_jax.workdir.paths import IMAGES
from fashion_jax.workdir.position import BEGINNING, Position
from fashion_jax.workdir.run_identity import identify
from fashion_jax.workdir.same_data import check_same_data
from fashion_jax.workdir.start import write_run_files
from fashion_jax.workdir.trained_on import count_trained_on, has_files_of_validation, trained_earlier
from tests.shop import products, shop_config, smallest_image, write_shop, write_table

HEADER = ("id", "masterCategory", "subCategory", "fold")
FOLDS = ["train"] * 24 + ["validation"] * 9 + ["test"] * 3
ROWS = [(*row, fold) for row, fold in zip(products(36), FOLDS, strict=True)]
OTHER = ("Apparel", "Dress")


@pytest.fixture
def begun(tmp_path):
    """Returns a shop and the files of a run on it that has saved its first step; calling it starts the run again."""
    shop, workdir = tmp_path / "shop", tmp_path / "run"
    write_shop(shop, ROWS, HEADER)
    (workdir / "checkpoints" / "1").mkdir(parents=True)

    def start(position=BEGINNING, **data):
        config = shop_config(shop, splits="fold", **data)
        dataset = load_dataset(config)
        changes = check_same_data(workdir, dataset) if (workdir / "data.json").exists() else []
        write_run_files(workdir, config, dataset, position, identify(workdir, config, dataset), changes)
        return changes

    start()
    return shop, workdir, start


def rewrite(shop, rows, header=HEADER):
    write_table(shop / "styles.csv", rows, header)


def other_label(row):
    return (row[0], *(("Footwear", "Shoes") if row[1:3] == OTHER else OTHER), row[3])


def test_a_list_of_images_is_written_where_the_path_is_no_text(tmp_path):
    folder = tmp_path / os.fsdecode(b"run\xff")
    folder.mkdir()
    images = ImageList(Strings(["a", "b"]), np.array([[0, 1], [1, -1]], np.int32), np.array([5, 6], np.uint64))
    write_images(folder / IMAGES, images, "digest", [1, 1])
    read = read_images(folder / IMAGES, 2)
    assert list(read.ids) == ["a", "b"] and (read.labels == images.labels).all()
    assert (read.contents == images.contents).all()
    assert read_digest(folder / IMAGES) == "digest" and read_counts(folder / IMAGES) == [1, 1]


def test_images_of_the_same_file_are_counted_or_of_the_same_id_where_files_are_not_known():
    listed = ImageList(Strings("abc"), np.zeros((3, 1), np.int32), np.array([5, 6, 7], np.uint64))
    for digests, count in ((np.array([6, 5, 9, 7], np.uint64), 3), (np.array([1, 2, 3, 4], np.uint64), 0), (None, 3)):
        split = Split(Strings("bacd"), [], {}, digests)
        assert count_common(listed, split) == count


def test_the_same_data_is_no_change(begun, tmp_path):
    shop, workdir, start = begun
    for image in (shop / "images").iterdir():
        os.utime(image, ns=(1, 1))
    assert start() == []
    shop.rename(tmp_path / "moved")
    (tmp_path / "shop").symlink_to("moved")
    assert start(cache_dir=str(tmp_path / "another")) == []
    (workdir / IMAGES).unlink()
    assert start() == [] and (workdir / IMAGES).exists()


@pytest.mark.parametrize("which", [5, 30])
def test_another_label_of_an_image_is_refused(begun, which):
    shop, workdir, start = begun
    rewrite(shop, [other_label(row) if i == which else row for i, row in enumerate(ROWS)])
    with pytest.raises(UserError, match=rf"1 images have other labels .*'{which}', which was '.+' and is '.+'"):
        start()
    (workdir / IMAGES).unlink()
    with pytest.raises(UserError, match="have other labels than in the run"):
        start()


def test_another_file_of_an_image_is_refused(begun):
    shop, workdir, start = begun
    (shop / "images" / "7.jpg").write_bytes(smallest_image("another"))
    with pytest.raises(UserError, match=r"1 images have other files .*'7': restore"):
        start()
    (workdir / IMAGES).write_bytes(b"damaged")
    with pytest.raises(UserError, match="have other files than in the run"):
        start()


def test_what_a_run_does_not_see_may_change(begun):
    shop, _, start = begun
    rewrite(shop, [other_label(row) if row[3] == "test" else row for row in ROWS])
    (shop / "images" / "35.jpg").write_bytes(smallest_image("another"))
    assert start() == []


def test_images_that_have_left_the_training_split_stay_known_as_trained_on(begun):
    """With fractions, new images divide the others anew; what the run has learned, it can no longer be measured on."""
    shop, workdir, start = begun

    def told():
        return list(trained_on_earlier(workdir, load_dataset(shop_config(shop, splits="fold"))))

    def moved(rows, places, fold):
        return [(*row[:3], fold) if i in places else row for i, row in enumerate(rows)]

    assert told() == []
    without = [row for i, row in enumerate(ROWS) if i not in (0, 1)]  # two images leave, to come back for validation
    rewrite(shop, without)
    assert told() == []
    start()
    exchanged = moved(moved(ROWS, (0, 1, 2), "validation"), (24, 25), "train")
    rewrite(shop, exchanged)
    sentence = "this run was trained on 3 of the 10 validation images before its data changed, so that its valida"
    assert [text[: len(sentence)] for text in told()] == [sentence]
    start()
    assert [text[: len(sentence)] for text in told()] == [sentence]  # at a start whose data is the same, too
    split = load_dataset(shop_config(shop, splits="fold")).splits["validation"]
    assert count_trained_on(workdir, split) == 3 and has_files_of_validation(workdir, split)
    rewrite(shop, ROWS)
    start()
    split = load_dataset(shop_config(shop, splits="fold")).splits["validation"]
    assert count_trained_on(workdir, split) == 2 and has_files_of_validation(workdir, split)
    shutil.rmtree(workdir / "checkpoints")
    start()
    (workdir / "checkpoints" / "1").mkdir(parents=True)
    assert told() == [] and count_trained_on(workdir, split) == 0  # it has begun anew


def test_images_of_a_start_that_trained_nothing_are_not_trained_on(begun):
    shop, workdir, start = begun
    rewrite(shop, [(*row[:3], {"train": "validation", "validation": "train"}.get(row[3], row[3])) for row in ROWS])
    start(position=Position(1, 1, 0))
    rewrite(shop, ROWS)
    dataset = load_dataset(shop_config(shop, splits="fold"))
    assert set(trained_earlier(workdir, dataset).ids) == {row[0] for row in ROWS if row[3] == "train"}
    assert list(trained_on_earlier(workdir, dataset)) == []
    (workdir / "checkpoints" / "2").mkdir()
    assert len(list(trained_on_earlier(workdir, dataset))) == 1


@pytest.mark.parametrize("lost", ["file", "digest"])
def test_a_run_whose_history_is_not_known_counts_as_trained_on_its_list(begun, lost):
    shop, workdir, start = begun
    split = load_dataset(shop_config(shop, splits="fold")).splits["train"]
    path = workdir / "environment.json"
    if lost == "file":
        path.unlink()
    else:  # as of an earlier version
        history = json.loads(path.read_text())
        del history["starts"][0]["data"]
        path.write_text(json.dumps(history))
    start(position=Position(1, 1, 0))
    assert count_trained_on(workdir, split) == len(split)


def test_a_run_that_resumes_from_an_earlier_step_has_trained_on_its_list(begun):
    """The newest checkpoint may have been damaged and set aside."""
    shop, workdir, start = begun
    rewrite(shop, ROWS[1:])
    for step in (5, 3):
        start(position=Position(step, 1, 0))
    split = load_dataset(shop_config(shop, splits="fold")).splits["train"]
    (workdir / "checkpoints" / "4").mkdir()
    assert count_trained_on(workdir, split) == len(split)


def test_an_image_that_has_left_may_come_back_with_another_label(begun):
    shop, _, start = begun
    rewrite(shop, ROWS[1:])
    start()
    rewrite(shop, [other_label(ROWS[0]), *ROWS[1:]])
    start()


def test_classes_may_be_corrected_before_anything_is_trained(begun):
    shop, workdir, start = begun
    rewrite(shop, [(row[0], row[1], row[2] + "s", row[3]) for row in ROWS])
    with pytest.raises(UserError, match="other classes"):
        start()
    (workdir / "checkpoints" / "1").rmdir()
    assert start() == []


def test_images_may_come_and_go(begun):
    shop, _, start = begun
    more = [(str(100 + i), *OTHER, "train") for i in range(3)]
    write_shop(shop, [*more, *ROWS[1:]], HEADER)
    (told,) = start()
    assert "26 images instead of 24" in told
    assert start() == []
    rewrite(shop, [*more, *(row if i != 30 else (*row[:3], "train") for i, row in enumerate(ROWS) if i)])
    assert len(start()) == 2, "an image of the other split"


@pytest.mark.parametrize("images", ["there", "missing"])
def test_images_that_stay_are_compared_where_others_come(begun, images):
    shop, workdir, start = begun
    write_shop(shop, [*ROWS[1:3], other_label(ROWS[3]), *ROWS[4:], ("100", *OTHER, "train")], HEADER)
    if images == "missing":
        (workdir / IMAGES).unlink()
    with pytest.raises(UserError, match=r"'3', which was" if images == "there" else rf"{IMAGES} cannot be read"):
        start()


def test_labels_that_change_with_the_split_are_refused(begun):
    shop, _, start = begun
    rewrite(shop, [(*other_label(row)[:3], "validation") if i == 4 else row for i, row in enumerate(ROWS)])
    with pytest.raises(UserError, match="'4', which was"):
        start()


def test_runs_of_before_have_only_ids_to_compare(begun):
    shop, workdir, start = begun
    data = json.loads((workdir / "data.json").read_text())
    for split in data["splits"].values():
        split.pop("labels_sha256"), split.pop("files_sha256")
    (workdir / "data.json").write_text(json.dumps(data))
    (workdir / IMAGES).unlink()
    write_shop(shop, [*ROWS[1:], ("100", *OTHER, "train")], HEADER)
    assert len(start()) == 1 and (workdir / IMAGES).exists()
    rewrite(shop, [*ROWS[1:4], other_label(ROWS[4]), *ROWS[5:], ("100", *OTHER, "train")])
    with pytest.raises(UserError, match="'4', which was"):
        start()


@pytest.mark.parametrize("text", ["{", "[]", '{"splits": {}}', '{"splits": {"train": {"ids_sha256": 3}}}'])
def test_a_damaged_data_json_is_refused(begun, text):
    _, workdir, start = begun
    (workdir / "data.json").write_text(text)
    with pytest.raises(UserError, match=r"data\.json cannot be read .*restore it"):
        start()
    (workdir / "checkpoints" / "1").rmdir()
    assert start() == [], "nothing has been trained yet"


def test_an_id_of_several_images_stays_if_they_only_come_or_go():
    def images(*rows: tuple[str, int]) -> ImageList:
        labels = np.zeros((len(rows), 2), np.int32)
        return ImageList(Strings(name for name, _ in rows), labels, np.array([x for _, x in rows], np.uint64))

    before = images(("a", 1), ("a", 2), ("b", 3))
    for now in ([("a", 1), ("b", 3)], [("b", 3), ("a", 2), ("a", 9), ("a", 1)], [("c", 1)]):
        assert changed_contents(before, images(*now)) == []
    assert changed_contents(before, images(("b", 3), ("a", 1), ("a", 9))) == [(1, 2)]
    assert changed_contents(before, images(("b", 1), ("a", 1))) == [(2, 0)]


def test_changes_among_random_images_are_found():
    """The expected changes come from a loop over dicts."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        lists = []
        for _ in range(2):
            ids = rng.permutation(30)[: rng.integers(1, 30)]
            labels = rng.integers(-1, 2, (len(ids), 2)).astype(np.int32)
            lists.append(ImageList(Strings(map(str, ids)), labels, np.ones(len(ids), np.uint64)))
        before, now = lists
        known = {name: i for i, name in enumerate(before.ids)}
        expected = [
            (known[name], i)
            for i, name in enumerate(now.ids)
            if name in known and (before.labels[known[name]] != now.labels[i]).any()
        ]
        assert changed_labels(before, now) == expected
        assert changed_contents(before, now) == []


def test_files_of_records_are_known_by_size_and_content(tmp_path):
    paths = [tmp_path / name for name in "abcd"]
    for path, content in zip(paths, (b"", b"x", bytes(10**6), bytes(5 * 10**5) + b"1" * 5 * 10**5), strict=True):
        path.write_bytes(content)
    digests = file_digests([str(path) for path in paths])
    assert all(a != b for a, b in itertools.combinations(digests.tolist(), 2))
    paths[1].rename(tmp_path / "e")
    assert file_digests([str(tmp_path / "e")])[0] == digests[1]
    with pytest.raises(UserError, match="cannot be read"):
        file_digests([str(tmp_path / "missing")])
