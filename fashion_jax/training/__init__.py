"""Runs training on the host: from the start of a run over its steps and epochs to its results."""
