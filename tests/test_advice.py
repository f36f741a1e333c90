"""What would help a weak class: the rule, by small numbers made up for it."""

import pytest
from scipy.sparse import csr_array

from fashion_jax.report.advice import IMAGES, JOIN, LABELS, LOOK, Advice, advise, errors_of, taken_for

MANY = [500] * 4
ONE_PARENT = [0] * 4
TWINS = [[10, 9, 1, 0], [8, 12, 0, 0], [0, 0, 20, 0], [0, 0, 0, 20]]  # 0 and 1 are confused in both directions
SWALLOWED = [[8, 12, 0, 0], [0, 40, 0, 0], [0, 0, 20, 0], [0, 0, 0, 20]]  # 0 is taken for 1, never the other way
SPREAD = [[8, 4, 4, 4], [2, 18, 0, 0], [2, 0, 18, 0], [2, 0, 0, 18]]
SINK = [[19, 1, 0, 0], [12, 18, 0, 0], [0, 0, 20, 0], [0, 0, 0, 20]]  # many images of 1 are called 0


def advice(counts, k=0, trained=MANY, parents=ONE_PARENT, suspects=0):
    return advise(k, errors_of(csr_array(counts), k), trained, parents, suspects)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"counts": TWINS}, [Advice(JOIN, 1)]),
        ({"counts": TWINS, "k": 1}, [Advice(JOIN, 0)]),
        ({"counts": TWINS, "parents": [0, 1, 1, 1]}, [Advice(LOOK)]),
        ({"counts": TWINS, "trained": [60, 60, 60, 60]}, [Advice(JOIN, 1), Advice(IMAGES, 0)]),
        ({"counts": TWINS, "trained": [9, 60, 60, 60]}, [Advice(IMAGES, 0, 1), Advice(JOIN, 1)]),
        ({"counts": SWALLOWED}, [Advice(LOOK)]),
        ({"counts": SWALLOWED, "trained": [500, 2001, 500, 500]}, [Advice(IMAGES, 0, 1)]),
        ({"counts": SWALLOWED, "trained": [99, 200, 200, 200]}, [Advice(IMAGES, 0)]),
        ({"counts": SWALLOWED, "trained": [200, 201, 900, 900]}, [Advice(IMAGES, 0)]),
        ({"counts": SPREAD}, [Advice(LOOK)]),
        ({"counts": SPREAD, "trained": [0, 500, 500, 500]}, [Advice(IMAGES, 0, 1)]),
        ({"counts": SINK}, [Advice(LOOK)]),
        ({"counts": SINK, "trained": [900, 50, 500, 500]}, [Advice(IMAGES, 1, 0)]),
        ({"counts": SINK, "trained": [20, 500, 500, 500]}, [Advice(LOOK)]),
        ({"counts": SPREAD, "suspects": 4}, [Advice(LABELS)]),
        ({"counts": SPREAD, "suspects": 3}, [Advice(LOOK)]),
        ({"counts": TWINS, "suspects": 4}, [Advice(LABELS), Advice(JOIN, 1)]),
        ({"counts": [[9, 1], [0, 10]], "trained": [500, 500], "parents": [0, 0], "suspects": 1}, [Advice(LOOK)]),
    ],
)
def test_the_rule(case, expected):
    assert advice(**case) == expected


def test_a_few_images_are_no_reason_to_join():
    assert advice([[2, 2, 0, 0], [2, 2, 0, 0], [0, 0, 9, 0], [0, 0, 0, 9]]) == [Advice(LOOK)]


def test_errors_are_counted_in_both_directions():
    errors = errors_of(csr_array(TWINS), 0)
    assert (errors.support, errors.missed, errors.called, errors.total) == (20, 10, 8, 18)
    assert (errors.rival, errors.to_rival, errors.from_rival, errors.rival_support) == (1, 9, 8, 20)
    assert (errors.taken_for, errors.called_from, errors.spread) == (1, 1, 2)
    right = errors_of(csr_array(TWINS), 3)
    assert right.total == 0 and right.rival is right.taken_for is right.called_from is None
    assert taken_for(csr_array(TWINS), 0) == (1, 9) and taken_for(csr_array(TWINS), 3) is None
