"""fashion_jax: hierarchical classification of fashion images in JAX."""

__version__ = "0.1.0"
