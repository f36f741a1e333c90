"""Small trees of classes, hand-made and random, and log-probabilities over them."""

import numpy as np

from fashion_jax.taxonomy import Taxonomy

LEVELS = ("main", "sub", "type")

# Apparel has Top and Dress, Shoes has Boot, and Gift has no class at the finer level.
SHOP = Taxonomy.from_paths(
    LEVELS[:2], [("Apparel", "Dress"), ("Apparel", "Top"), ("Shoes", "Boot"), ("Gift", ""), ("Apparel", "")]
)
MAIN_ALONE = Taxonomy.from_paths(LEVELS[:1], [("Apparel",), ("Shoes",)])
PLAIN = Taxonomy.from_paths(LEVELS[:2], [("Apparel", "Dress"), ("Apparel", "Top"), ("Shoes", "Boot")])


def random_taxonomy(seed: int, gaps: bool) -> Taxonomy:
    """Returns a taxonomy of one to three levels; with gaps, some classes have no child."""
    generator = np.random.default_rng(seed)
    depth = int(generator.integers(1, 4))
    paths = []
    for _ in range(int(generator.integers(2, 40))):
        path = [f"{name}{k}" for name, k in zip("abc", generator.integers(0, 4, depth), strict=False)]
        cut = int(generator.integers(1, depth + 1)) if gaps else depth
        paths.append((*path[:cut], *[""] * (depth - cut)))
    paths.append(tuple(f"{name}0" for name in "abc"[:depth]))  # so that no level is empty
    return Taxonomy.from_paths(LEVELS[:depth], paths)


def random_log_probs(taxonomy: Taxonomy, images: int, seed: int, scale: float = 3.0) -> dict[str, np.ndarray]:
    """Returns float32 log-probabilities, each level's own softmax of normal logits."""
    generator = np.random.default_rng(seed)
    result = {}
    for level in taxonomy.levels:
        logits = generator.normal(0, scale, (images, taxonomy.num_classes(level)))
        result[level] = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)
    return result


def random_labels(taxonomy: Taxonomy, images: int, seed: int) -> dict[str, np.ndarray]:
    """Returns int [images] by level, on the tree's paths; some are unknown from a level on."""
    generator = np.random.default_rng(seed)
    finest = taxonomy.levels[-1]
    leaves = generator.integers(0, taxonomy.num_classes(finest), images)
    cut = generator.integers(0, 2 * len(taxonomy.levels), images)
    return {
        level: np.where(cut < i + 1 - len(taxonomy.levels) + 1, -1, taxonomy.ancestors(level, finest)[leaves])
        for i, level in enumerate(taxonomy.levels)
    }
