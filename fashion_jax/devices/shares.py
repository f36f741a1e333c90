"""Divides work that all processes of a run would do alike: each does a share, and all get every result."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fashion_jax.devices.processes import exchange

_PER_ROUND = 1 << 15  # results that all processes together exchange at once: less than 1 MB of digests


@dataclasses.dataclass(frozen=True)
class Share:
    """A process's share of things that are numbered from 0: every n-th of them, where n processes divide them.

    Attributes:
        index: the first thing of the share.
        members: the processes that divide the things, ascending; the share of members[k] begins at thing k.
        num_processes: of the whole run.
        rounds: how often the processes of the run exchange results, which takes all of them.
    """

    index: int = 0
    members: tuple[int, ...] = (0,)
    num_processes: int = 1
    rounds: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether this process does all of the work."""
        return len(self.members) == 1

    def of(self, count: int) -> np.ndarray:
        """Returns the things of this share among `count`, int [things]."""
        return np.arange(self.index, count, len(self.members))

    def gather(self, name: str, own: Sequence[Any]) -> Iterator[tuple[np.ndarray, list[Any]]]:
        """Exchanges results; all processes of the run must iterate to the end, also those that share with none.

        Args:
            name: of the question, the same in all processes.
            own: results of this share, as JSON has them.

        Yields:
            Things (int [n]) and their results, which cover all things in the end; nothing if the share is whole.
        """
        per_process = _per_process(self.num_processes)
        for start in range(0, self.rounds * per_process, per_process):
            sent = [] if self.is_whole else list(own[start : start + per_process])
            everyone = exchange(name, sent, list)
            for k, member in enumerate(self.members):
                found = everyone[member]
                yield k + len(self.members) * (start + np.arange(len(found))), found


def share_of(name: str, same: str, count: int) -> Share:
    """Divides `count` things among the processes that have the same ones; all processes of the run must call it.

    Args:
        name: of the question, the same in all processes.
        same: what is equal in processes whose things, and results for them, are the same.
        count: of the things of this process.
    """
    import jax

    return shares([(same, count) for same, count in exchange(name, [same, count], list)])[jax.process_index()]


def shares(things: Sequence[tuple[str, int]]) -> list[Share]:
    """Returns the share of each process, given what `share_of` asks each process for: `same` and `count`."""
    sizes = Counter(things)
    per_process = _per_process(len(things))
    rounds = max((-(-count // (size * per_process)) for (_, count), size in sizes.items() if size > 1), default=0)
    groups = {thing: tuple(i for i, other in enumerate(things) if other == thing) for thing in sizes}
    return [Share(groups[x].index(i), groups[x], len(things), rounds) for i, x in enumerate(things)]


def _per_process(num_processes: int) -> int:
    return max(_PER_ROUND // num_processes, 1)
