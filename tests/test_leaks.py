"""Images that two splits share."""

import filecmp

import numpy as np

from fashion_jax.data import leaks


def test_copies_of_one_image_are_compared_once_for_each_pair_of_splits(tmp_path, monkeypatch):
    """A shop may have one placeholder in place of thousands of photos."""
    contents = [b"placeholder"] * 200 + [b"shirt", b"shoe", b"placeholder", b"shoe", b"placeholder", b"coat", b"shirt"]
    files = [str(tmp_path / f"{i}.jpg") for i in range(len(contents))]
    for i, content in enumerate(contents):
        (tmp_path / f"{i}.jpg").write_bytes(content)
    digests = np.array([len(content) for content in contents], np.uint64)  # those of shoe and coat are equal
    assigned = {"validation": np.array([202, 203, 204]), "train": np.arange(202), "test": np.array([205, 206])}
    compared = []
    compare = filecmp.cmp
    monkeypatch.setattr(filecmp, "cmp", lambda *pair, **how: compared.append(pair) or compare(*pair, **how))
    found = leaks.find_leaks(files, digests, assigned)
    placeholders = [(i, 202) for i in range(200)]
    assert found == {("train", "validation"): [*placeholders, (201, 203)], ("train", "test"): [(200, 206)]}
    assert len(compared) == 5  # two of train and validation, two of train and test, one of the others


def test_splits_without_images_share_none():
    assigned = {"train": np.arange(2), "validation": np.zeros(0, int)}
    assert leaks.find_leaks(["a", "b"], np.array([7, 7], np.uint64), assigned) == {}
