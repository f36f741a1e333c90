"""Interrupts runs, for the tests of several modules."""

import pytest

from fashion_jax.training import loop
from fashion_jax.training.train import train_and_evaluate


def cut_after(monkeypatch, steps, config, workdir, devices=None):
    """Trains, and interrupts the run when a further batch is asked for."""
    real, batches = loop.put_batch, iter(range(10**6))

    def interrupt(batch, mesh):
        if next(batches) == steps:
            raise KeyboardInterrupt
        return real(batch, mesh)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(loop, "put_batch", interrupt)
        train_and_evaluate(config, workdir, devices)
