"""Finds how fast each parameter of a model is trained: the factor on its learning rate, where 0 freezes it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax

from fashion_jax.config.combinations import trunk_paths
from fashion_jax.errors import UserError

Path = tuple[str, ...]  # names from the root of the parameters to a leaf


@dataclasses.dataclass(frozen=True)
class LearningRateFactors:
    """The factors on the learning rate, by the path of a parameter, such as ("trunk", "conv1", "kernel").

    Attributes:
        patterns: pairs of a regular expression and a factor; the first expression that is found in a path, joined by
            "/", decides. A path without one has the factor 1.
        trunks: paths of the model's trunks.
        layer_decay: each layer of a trunk is trained this much slower than the next one, the last one this much slower
            than the heads.
    """

    patterns: tuple[tuple[str, float], ...] = ()
    trunks: tuple[Path, ...] = ()
    layer_decay: float = 1.0

    def is_frozen(self, *path: str) -> bool:
        """Returns whether the parameter at a path is not trained."""
        return self._pattern_factor(path) == 0

    def tree(self, params: Any) -> Any:
        """Returns the factor of each parameter, a tree like params.

        Raises:
            UserError: an expression is found in no path, or all factors are 0.
        """
        depths = dict(self._depths(params))
        factors = jax.tree.map_with_path(lambda path, _: self._factor(_names(path), depths), params)
        paths = _joined_paths(params)
        for pattern, factor in self.patterns:
            if not any(re.search(pattern, path) for path in paths):
                raise UserError(
                    f"learning_rate_factors has {pattern!r} (factor {factor:g}), which is found in the path of no "
                    f"parameter: paths are such as {paths[0]} and {paths[-1]}."
                )
        if not any(jax.tree.leaves(factors)):
            raise UserError("learning_rate_factors and model.frozen freeze all parameters: leave some to be trained.")
        return factors

    def check_order(self, params: Any) -> None:
        """Checks that each expression decides the factor of a parameter, which it does not behind wider ones.

        Raises:
            UserError: one does not.
        """
        paths = _joined_paths(params)
        for i, (pattern, factor) in enumerate(self.patterns):
            earlier = [other for other, _ in self.patterns[:i]]
            found = [path for path in paths if re.search(pattern, path)]
            first = [next((other for other in earlier if re.search(other, path)), None) for path in found]
            if found and None not in first:
                raise UserError(
                    f"learning_rate_factors has {pattern!r} (factor {factor:g}), but {first[0]!r}, which comes before "
                    f"it or is of model.frozen, decides for {found[0]}: put {pattern!r} first, or take it out."
                )

    def slowest(self, params: Any, trunk: Path) -> float:
        """Returns the smallest factor of a parameter of a trunk."""
        tree = self.tree(params)
        for name in trunk:
            tree = tree[name]
        return min(jax.tree.leaves(tree))

    def split(self, params: Any) -> tuple[Any, Any]:
        """Splits a tree like the parameters into the trained and the frozen ones; each has None for the others."""
        if not self.patterns:
            return params, jax.tree.map(lambda _: None, params)
        is_frozen = jax.tree.map_with_path(lambda path, _: self.is_frozen(*_names(path)), params)
        trained = jax.tree.map(lambda is_fixed, x: None if is_fixed else x, is_frozen, params)
        frozen = jax.tree.map(lambda is_fixed, x: x if is_fixed else None, is_frozen, params)
        return trained, frozen

    def _factor(self, path: Path, depths: Mapping[Path, int]) -> float:
        layers = [depth for layer, depth in depths.items() if path[: len(layer)] == layer]
        return self._pattern_factor(path) * self.layer_decay ** sum(layers)

    def _pattern_factor(self, path: Sequence[str]) -> float:
        joined = "/".join(path)
        return next((factor for pattern, factor in self.patterns if re.search(pattern, joined)), 1.0)

    def _depths(self, params: Any) -> Iterator[tuple[Path, int]]:
        """Yields the path of each layer of the trunks and its distance from the heads, which is at least 1.

        The modules of a trunk are ordered by the numbers in their names: conv1 and bn1, then layer1_0, layer1_1, ….
        """
        if self.layer_decay == 1:
            return
        for trunk in self.trunks:
            tree = params
            for name in trunk:
                tree = tree[name]
            order = sorted({_numbers(name) for name in tree})
            yield from (((*trunk, name), len(order) - order.index(_numbers(name))) for name in tree)


NO_FACTORS = LearningRateFactors()


def create_factors(
    model_name: str, frozen: Iterable[str], learning_rate_factors: Mapping[str, float], layer_decay: float
) -> LearningRateFactors:
    """Creates the factors of a config's fields: the trunks of model.frozen have 0, whatever else is found in them."""
    trunks = trunk_paths(model_name)
    patterns = [(f"^{'/'.join(trunks[name])}/", 0.0) for name in frozen]
    patterns += [(pattern, float(factor)) for pattern, factor in learning_rate_factors.items()]
    return LearningRateFactors(tuple(patterns), tuple(trunks.values()), layer_decay)


def merge(trained: Any, frozen: Any) -> Any:
    """Puts the two trees of `LearningRateFactors.split` together again."""
    return jax.tree.map(lambda a, b: b if a is None else a, trained, frozen, is_leaf=lambda x: x is None)


def _joined_paths(params: Any) -> list[str]:
    """Returns the path of each parameter as the expressions see it, such as trunk/conv1/kernel."""
    return ["/".join(_names(path)) for path, _ in jax.tree.flatten_with_path(params)[0]]


def _names(path: tuple[Any, ...]) -> Path:
    return tuple(key.key for key in path)


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", name)))
