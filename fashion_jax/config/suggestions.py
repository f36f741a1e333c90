"""Guesses which field is meant by a word that is none: the words of other trainers, and misspelled ones."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable

from fashion_jax.command_line import close_flag
from fashion_jax.config.fields import CHECKS, literal

# Words of timm, Keras, Lightning, lightly-train, Ultralytics and big_vision, normalized -> the field.
_WORDS = {
    "num_epochs": "epochs epoch num_epoch n_epochs max_epochs max_epoch total_epochs nb_epochs train_epochs",
    "learning_rate": "lr base_lr init_lr initial_lr lr0 max_lr",
    "batch_size": "batch bs b train_batch_size global_batch_size per_device_train_batch_size input.batch_size",
    "image_size": "img_size imgsz input_size img input_shape image_shape resolution size crop_size target_size",
    "weight_decay": "wd decay l2",
    "optimizer": "opt optim",
    "warmup_epochs": "warmup warmup_steps num_warmup_steps warmup_lr_epochs",
    "label_smoothing": "smoothing",
    "average": "ema model_ema ema_decay model_ema_decay swa",
    "early_stopping": "patience early_stop",
    "schedule": "sched scheduler lr_scheduler lr_schedule lr_scheduler_type",
    "learning_rate_decay": "decay_rate lr_decay lr_gamma gamma",
    "dtype": "precision amp fp16 bf16 half mixed_precision amp_dtype",
    "clip_gradient_norm": "clip_grad grad_clip clip_grad_norm grad_clip_norm gradient_clip_val clipnorm max_grad_norm",
    "accumulate": "grad_accum_steps accumulate_grad_batches gradient_accumulation_steps accumulation_steps",
    "augment": "aug aa auto_augment augmentation augmentations transform_args data_augmentation",
    "loss_weights": "loss_weight class_loss_weights",
    "log_every_steps": "log_interval log_every log_steps log_every_n_steps logging_steps print_freq log_training_steps",
    "remat": "grad_checkpointing gradient_checkpointing checkpoint_activations",
    "deterministic": "reproducible",
    "model.name": "model arch architecture backbone trunk network model_name net",
    "model.init_from": "pretrained weights initial_checkpoint checkpoint_path model_init finetune",
    "model.frozen": "freeze freeze_backbone frozen",
    "rare_classes.weights": "class_weight class_weights",
    "checkpoint.every_steps": "save_every save_steps ckpt_steps checkpoint_every save_interval recovery_interval",
    "checkpoint.keep": "checkpoint_hist save_total_limit save_top_k keep",
    "checkpoint.best": "monitor eval_metric metric best_metric",
    "data.path": "data data_dir data_path dataset dataset_dir data_root root images image_dir folder train_dir train",
    "data.csv": "csv table labels annotations csv_file csv_path labels_csv train_csv",
    "data.image": "image x_col file_name image_column",
    "data.levels": "levels classes label_columns y_col target label",
    "data.splits": "splits split validation_split val_split val valid validation valid_size test_size train_split",
    "data.source": "source format dataset_type",
    "data.cache": "cache cache_images",
    "data.cache_dir": "cache_dir cache_path",
    "data.folds": "folds n_folds num_folds k_folds",
    "data.fold": "fold",
    "eval_flip": "tta flip_tta",
    "seed": "random_seed random_state",
}
# Words that may count in another unit than their field -> that of the field.
_UNITS = {
    "warmup_steps num_warmup_steps": "epochs",
    "save_every checkpoint_every save_interval recovery_interval": "steps",
}
_FLAGS = {"workdir": "output out output_dir out_dir outdir save_dir logdir log_dir run_dir work_dir project name"}
# Words without a field -> why none is needed.
_NEEDLESS = {
    "workers num_workers j loader_workers dataloader_num_workers workers_per_gpu": "images are decoded on all cores",
    "resume resume_from resume_from_checkpoint ckpt_path auto_resume": "the same command resumes by itself",
    "num_classes nc n_classes": "the classes come from the data",
    "device devices gpus gpu accelerator num_gpus tpu_cores": "all devices that JAX sees are used",
    "shuffle": "every epoch has an order of its own, a function of seed",
}


def suggestion(word: str, text: str | None, flags: Iterable[str] = ()) -> str:
    """Returns the end of a sentence that says what a word may mean that is neither a flag nor a field.

    Args:
        word: such as `--lr`, `--batch-size` or `num_epoch`.
        text: its value on the command line; None if it has none.
        flags: those of the command, with their dashes, one of which may be misspelled.

    Returns:
        A clause that begins with its punctuation, such as "; did you mean --config.num_epochs=3?"; "" if nothing is
        alike.
    """
    plain = word.strip("-").replace("-", "_").lower()
    for words, reason in _NEEDLESS.items():
        if plain in words.split():
            return f": {reason}."
    for flag, words in _FLAGS.items():
        if plain in words.split():
            return f"; did you mean --{flag} {shlex.quote(text or 'DIR')}?"
    usual = _usual(plain)
    if not usual and (flag := close_flag(word, flags)):
        return flag
    field = usual or _close(plain)
    return _meant(plain, field, text) if field else ""


def _meant(plain: str, field: str, text: str | None) -> str:
    """Returns a clause that names the field that a word means, with the value where the field may take it."""
    for words, unit in _UNITS.items():
        if plain in words.split():
            return f"; did you mean --config.{field}? It counts {unit}."
    if text is None:
        return f"; did you mean --config.{field}?"
    if wrong := CHECKS[field](literal(text)):
        return f"; did you mean --config.{field}? It must be {wrong}."
    return f"; did you mean --config.{field}={_quoted(text)}?"


def meant_field(word: str) -> str:
    """Returns the field that a word may mean: one of its usual names, its last part, or one alike; "" if none is."""
    return _usual(word) or _close(word)


def _usual(word: str) -> str:
    usual = [field for field, words in _WORDS.items() if word in words.split()]
    same = [field for field in CHECKS if word in (field, field.rpartition(".")[2])]
    return (usual or same or [""])[0]


def _close(word: str) -> str:
    return next(iter(difflib.get_close_matches(word, CHECKS, n=1, cutoff=0.5)), "")


def _quoted(text: str) -> str:
    """Quotes a value for the shell, in double quotes if it has single ones, as a table has."""
    is_plain = "'" not in text or any(letter in text for letter in '"$`\\!')
    return shlex.quote(text) if is_plain else f'"{text}"'
