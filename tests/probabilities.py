"""Made-up probabilities and labels."""

import numpy as np

from fashion_jax.scoring.temperature import apply_temperature


def overconfident(images: int, seed: int, temperature: float = 3.0, classes: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels drawn from a softmax, and log-probabilities overconfident by a factor of `temperature`."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (images, classes))
    labels = (logits + generator.gumbel(size=logits.shape)).argmax(1)
    return apply_temperature(logits, 1 / temperature).astype(np.float32), labels


def examples(images: int = 400, classes: int = 9, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns log-probabilities that are right half of the time, and labels; one class is empty, some are unknown."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(classes - 1, images, p=np.arange(1, classes) / np.arange(1, classes).sum())
    logits = generator.normal(size=(images, classes)) + 1.5 * (labels[:, None] == np.arange(classes))
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return log_probs, np.where(generator.random(images) < 0.1, -1, labels)
