"""Names the files and folders of a work directory. No other module builds a path from a name that it spells out."""

from __future__ import annotations

from pathlib import Path

CONFIG = "config.json"
TAXONOMY = "taxonomy.json"
DATA = "data.json"
ENVIRONMENT = "environment.json"
IMAGES = "images.parquet"
METRICS = "metrics.jsonl"
CALIBRATION = "calibration.json"
LOCK = "lock"
MEETING = "processes"
STACKS = "stacks"
CHECKPOINTS = "checkpoints"
PREDICTIONS = "predictions"
VALIDATION = "validation.parquet"
REPORT = "report"
EVENTS = "tensorboard"
PAGE = "index.html"


def config_path(workdir: Path) -> Path:
    """Returns the path of the run's config."""
    return workdir / CONFIG


def taxonomy_path(workdir: Path) -> Path:
    """Returns the path of the run's classes."""
    return workdir / TAXONOMY


def data_path(workdir: Path) -> Path:
    """Returns the path of the numbers of images per split and class, and of the images left out."""
    return workdir / DATA


def environment_path(workdir: Path) -> Path:
    """Returns the path of the versions, the devices and the history of the run's starts."""
    return workdir / ENVIRONMENT


def images_path(workdir: Path) -> Path:
    """Returns the path of the fingerprints of the run's images."""
    return workdir / IMAGES


def metrics_path(workdir: Path) -> Path:
    """Returns the path of the metrics, a line per epoch."""
    return workdir / METRICS


def calibration_path(workdir: Path) -> Path:
    """Returns the path of the run's temperatures."""
    return workdir / CALIBRATION


def meeting_path(workdir: Path) -> Path:
    """Returns the path of the file by which the processes of a run find out whether they share a file system."""
    return workdir / MEETING


def stacks_path(workdir: Path) -> Path:
    """Returns the path of the folder that shows where each process of a run that hung was."""
    return workdir / STACKS


def checkpoints_path(workdir: Path) -> Path:
    """Returns the path of the folder of checkpoints."""
    return workdir / CHECKPOINTS


def predictions_path(workdir: Path) -> Path:
    """Returns the path of the best checkpoint's predictions on the validation split."""
    return workdir / PREDICTIONS / VALIDATION


def events_path(workdir: Path) -> Path:
    """Returns the path of the folder of TensorBoard events."""
    return workdir / EVENTS


def report_path(workdir: Path) -> Path:
    """Returns the path of the folder of the report."""
    return workdir / REPORT


def page_path(report: Path) -> Path:
    """Returns the path of the page in a folder of a report."""
    return report / PAGE
