"""Two runs are compared on the images that both have."""

import numpy as np

from fashion_jax.scoring.evaluation import Comparison
from fashion_jax.scoring.pairing import Measured, compare_runs, shared_images
from tests.trees import PLAIN, random_log_probs


def test_images_are_paired_by_id_and_those_of_one_id_in_turn():
    here, there = shared_images(["a", "b", "b", "c"], ["b", "x", "b", "b", "a"])
    assert here.tolist() == [1, 2, 0] and there.tolist() == [0, 2, 4]
    assert [len(x) for x in shared_images(["a"], ["b"])] == [0, 0]


def test_images_of_one_id_are_paired_by_their_contents():
    """Another split of a product's photos has other ones of them, or others first."""
    contents = np.array([1, 2, 3, 3, 4], np.uint64), np.array([5, 3, 2, 9], np.uint64)
    here, there = shared_images(["a", "b", "b", "b", "c"], ["b", "b", "b", "a"], contents)
    assert list(zip(here.tolist(), there.tolist(), strict=True)) == [(2, 1), (1, 2), (0, 3)]  # a: another file, one id


def test_a_run_does_not_differ_from_itself_where_ids_stand_for_several_images():
    log_probs = random_log_probs(PLAIN, 40, 0)
    labels = {level: x.argmax(1) for level, x in random_log_probs(PLAIN, 40, 1).items()}
    run = Measured(PLAIN, [f"product {i // 2}" for i in range(40)], labels, log_probs)
    found = compare_runs(run, run)
    assert found.tested_images == 40
    assert all(test["only_a"] == test["only_b"] == 0 for test in found.tests.values())


def test_photos_of_a_product_are_held_against_themselves_by_their_contents():
    log_probs = random_log_probs(PLAIN, 40, 0)
    labels = {level: x.argmax(1).repeat(2) for level, x in random_log_probs(PLAIN, 20, 1).items()}
    ids, contents, turned = [f"product {i // 2}" for i in range(40)], np.arange(40, dtype=np.uint64), np.arange(40) ^ 1
    first = Measured(PLAIN, ids, labels, log_probs, contents)
    second = Measured(PLAIN, ids, labels, {level: x[turned] for level, x in log_probs.items()}, contents[turned])
    found = compare_runs(first, second)
    assert found.tested_images == 40
    assert all(test["only_a"] == test["only_b"] == 0 for test in found.tests.values())


def test_only_shared_images_are_tested():
    log_probs = random_log_probs(PLAIN, 40, 0)
    labels = {level: x.argmax(1) for level, x in log_probs.items()}
    first = Measured(PLAIN, [*map(str, range(40))], labels, log_probs)
    half = {level: x[30:] for level, x in log_probs.items()}
    second = Measured(PLAIN, [*map(str, range(30, 40))], {level: x[30:] for level, x in labels.items()}, half)
    found = compare_runs(first, second)
    assert found.tested_images == 10 and found.tests["sub"]["difference"] == 0
    assert np.isfinite(found.tests["path"]["p_value"])
    other = second._replace(ids=[f"other {i}" for i in range(10)])
    assert compare_runs(first, other) == Comparison(untested="has no image in common with the first run")


def test_images_with_other_labels_favor_neither_run():
    right = {level: x.argmax(1) for level, x in random_log_probs(PLAIN, 40, 0).items()}
    log_probs = random_log_probs(PLAIN, 40, 1)
    first = Measured(PLAIN, [*map(str, range(40))], right, log_probs)
    corrected = right | {"sub": np.where(np.arange(40) < 5, log_probs["sub"].argmax(1), right["sub"])}
    changed = int((corrected["sub"] != right["sub"]).sum())
    found = compare_runs(first, first._replace(labels=corrected))
    assert changed > 0 and (found.tested_images, found.relabeled_images) == (40 - changed, changed)
    assert found.to_json()["relabeled_images"] == changed
    shifted = {level: (x + 1) % PLAIN.num_classes(level) for level, x in right.items()}
    found = compare_runs(first, first._replace(labels=shifted))
    assert found.untested.startswith("has other labels") and found.tests is None
