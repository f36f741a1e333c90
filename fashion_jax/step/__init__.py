"""Runs on the device: the train and eval steps, their state, losses, optimizer and metrics."""
