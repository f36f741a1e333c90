"""Decides from counts what would help a weak class: checking labels, more images, joining it with another class.

The errors of a class are the images of it that are predicted as another class (missed) and the images of other classes
that are predicted as it (wrongly called so). The rule, in the order of the advice:

1. LABELS if at least two, and at least a fifth, of the class's errors are suspected wrong labels.
2. IMAGES if the class has fewer training images than HARDLY_LEARNED. It then stands before JOIN.
3. JOIN with the rival, the class with which it has most errors, if both have the same parent, the errors between the
   two are at least half of all errors of the class and at least five, and each of the two loses at least a fifth of its
   images to the other. A confusion in one direction only is no reason, since a class with few images is predicted
   rarely, however different it looks.
4. IMAGES if it has fewer training images than FEW, fewer than half of what a class has on average, or fewer than a
   quarter of those of the class that it is most often taken for. If most of its errors are images wrongly called so,
   what counts are the training images of the class that most of these belong to.
5. LOOK if nothing above holds: no single cause shows in the counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fashion_jax.data.findings import FEW_IMAGES

if TYPE_CHECKING:
    from scipy.sparse import csr_array

LABELS, IMAGES, JOIN, LOOK = "labels", "images", "join", "look"

MIN_SUPPORT = 10  # measured images, below which a class is not judged
HARDLY_LEARNED = FEW_IMAGES  # training images, below which errors say little about a class
FEW = 100  # training images; with fewer, more images help nearly every class
_BELOW_AVERAGE = 0.5  # of the average number of training images
_FEWER = 4  # times as many training images of another class, above which a class has comparatively few
_MIN_SUSPECTS = 2
_LABEL_SHARE = 0.2  # of the errors of a class
_JOINED_SHARE = 0.5  # of the errors of a class
_LOST_SHARE = 0.2  # of the images of a class
_MIN_JOINED = 5  # images


class Errors(NamedTuple):
    """How a class is confused.

    Attributes:
        support: images of the class.
        missed: images of the class that are predicted as another.
        called: images of other classes that are predicted as it.
        rival: the class with which it has most errors, in both directions together; None without errors.
        to_rival: images of the class that are predicted as the rival.
        from_rival: images of the rival that are predicted as the class.
        rival_support: images of the rival.
        taken_for: the class that most missed images are predicted as; None if none is missed.
        called_from: the class that most images wrongly called so belong to; None if there are none.
        spread: number of classes with which it has errors.
    """

    support: int
    missed: int
    called: int
    rival: int | None
    to_rival: int
    from_rival: int
    rival_support: int
    taken_for: int | None
    called_from: int | None
    spread: int

    @property
    def total(self) -> int:
        return self.missed + self.called


class Advice(NamedTuple):
    """What would help a class: LABELS, IMAGES, JOIN or LOOK.

    Attributes:
        kind: one of these.
        other: JOIN: the class to join it with. IMAGES: the class that lacks images, which may be the class itself.
        against: IMAGES: the class that has many more, or None.
    """

    kind: str
    other: int | None = None
    against: int | None = None


def errors_of(counts: csr_array, k: int) -> Errors:
    """Counts the errors of class k in a confusion matrix, int [C, C], rows true, columns predicted."""
    to, of = _row(counts, k), _row(counts.T.tocsr(), k)
    support = int(to.sum())
    to[k] = of[k] = 0
    both = to + of
    rival = int(both.argmax()) if both.any() else None
    return Errors(
        support=support,
        missed=int(to.sum()),
        called=int(of.sum()),
        rival=rival,
        to_rival=0 if rival is None else int(to[rival]),
        from_rival=0 if rival is None else int(of[rival]),
        rival_support=0 if rival is None else int(_row(counts, rival).sum()),
        taken_for=int(to.argmax()) if to.any() else None,
        called_from=int(of.argmax()) if of.any() else None,
        spread=int((both > 0).sum()),
    )


def taken_for(counts: csr_array, k: int) -> tuple[int, int] | None:
    """Returns the class that images of class k are most often predicted as, and how often; None if all are right."""
    row = _row(counts, k)
    row[k] = 0
    return (int(row.argmax()), int(row.max())) if row.any() else None


def _row(counts: csr_array, k: int) -> np.ndarray:
    row = np.zeros(counts.shape[1], np.int64)
    start, end = counts.indptr[k : k + 2]
    row[counts.indices[start:end]] = counts.data[start:end]
    return row


def advise(k: int, errors: Errors, trained: Sequence[int], parents: Sequence[int], suspects: int) -> list[Advice]:
    """Returns what would help class k, the first first, by the rule of this module.

    Args:
        k: the class.
        errors: its errors.
        trained: training images of each class, [C].
        parents: parent of each class, [C].
        suspects: number of its errors whose label is suspected to be wrong.
    """
    found = []
    if suspects >= max(_MIN_SUSPECTS, _LABEL_SHARE * errors.total):
        found.append(Advice(LABELS))
    images = _lacking_images(k, errors, trained)
    joined = _joined(k, errors, parents)
    if images and images.other == k and trained[k] < HARDLY_LEARNED:
        found += [images, *joined]
    else:
        found += [*joined, *([images] if images else [])]
    return found or [Advice(LOOK)]


def _joined(k: int, errors: Errors, parents: Sequence[int]) -> list[Advice]:
    rival, between = errors.rival, errors.to_rival + errors.from_rival
    if rival is None or parents[rival] != parents[k] or between < max(_MIN_JOINED, _JOINED_SHARE * errors.total):
        return []
    is_mutual = (
        errors.to_rival >= _LOST_SHARE * errors.support and errors.from_rival >= _LOST_SHARE * errors.rival_support
    )
    return [Advice(JOIN, rival)] if is_mutual else []


def _lacking_images(k: int, errors: Errors, trained: Sequence[int]) -> Advice | None:
    lacking, against = k, errors.taken_for
    if errors.called > errors.missed and errors.called_from is not None:
        lacking, against = errors.called_from, k
    many = against is not None and trained[against] > _FEWER * trained[lacking]
    average = sum(trained) / len(trained)
    if trained[lacking] < max(FEW, _BELOW_AVERAGE * average) or many:
        return Advice(IMAGES, lacking, against if many else None)
    return None
