"""The files of a run's work directory, each read and written in one place."""
