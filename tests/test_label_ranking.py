"""Runs whose label errors are ranked together must have been kept from other images."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fashion_jax.data.dataset import Split
from fashion_jax.errors import UserError
from fashion_jax.report.label_ranking import check_joinable
from tests.trees import PLAIN

MODELS = [SimpleNamespace(workdir=Path(name), taxonomy=PLAIN) for name in "ab"]


def split_of(ids: str, digests: list[int] | None) -> Split:
    return Split([*ids], [], {"sub": np.zeros(len(ids), np.int32)}, digests and np.array(digests, np.uint64))


@pytest.mark.parametrize(("second", "joins"), [([4, 5], True), ([4, 2], False), (None, False)])
def test_photos_of_one_product_may_be_in_several_folds(second, joins):
    splits = [split_of("xyy", [1, 2, 3]), split_of("zy", second)]
    small = split_of("x", [9])  # a copy of an image in another size, whose id is no product's
    with pytest.raises(UserError, match="these have images in common"):
        check_joinable(MODELS, [splits[0], small])
    if joins:
        check_joinable(MODELS, splits)
        return
    with pytest.raises(UserError, match="these have images in common"):
        check_joinable(MODELS, splits)
