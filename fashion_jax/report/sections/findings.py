"""Lists the findings at the top of the page: what may be wrong with the data, or too little of it."""

from __future__ import annotations

from fashion_jax.data.findings import count_notes, never_predicted
from fashion_jax.report.contents import PageContents
from fashion_jax.scoring.early_stopping import stopped_early
from fashion_jax.workdir.files import train_counts


def findings(contents: PageContents) -> list[str]:
    """Returns the findings that the run's start reported, and the classes that the checkpoint never predicts."""
    data, taxonomy = contents.data, contents.taxonomy
    train = {level: contents.train_counts(level) for level in taxonomy.levels}
    validation = train_counts(data, taxonomy, "validation") if "validation" in data["splits"] else {}
    left_over = 0 if contents.config.rare_classes.draw else data["splits"]["train"].get("left_over_per_epoch", 0)
    notes = [*map(str, data.get("warnings", [])), *count_notes(taxonomy, train, validation, left_over)]
    counts = {level: contents.counts(level) for level in taxonomy.levels}
    if reason := stopped_early(contents.config.early_stopping, contents.lines, contents.config.num_epochs):
        notes.append(reason)
    if never := never_predicted(taxonomy, contents.log_probs, counts):
        notes.append(f"{never}, on {contents.split_name}")
    return [f"{note[:1].upper()}{note[1:]}." for note in notes]
