"""Changes that somebody makes between two starts of a run."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageOps

from tests.faults.lab import Fault, Lab, Try, end_of, is_sentence, refused, steps, told
from tests.faults.shop import make_shop, read_rows, shop_fields, write_rows

Change = Callable[[Path, Path], object]  # changes a work directory or its shop


def _trained(lab: Lab, at: int = 6) -> tuple[Path, Path]:
    """Returns a run on a shop, stopped after some steps, and the shop."""
    shop, workdir = make_shop(lab.folder / "shop"), lab.folder / "run"
    command = lab.train(workdir, shop_fields(shop) | {"num_epochs": 4, "checkpoint.every_steps": 3})
    command.until(lambda: max(command.steps(), default=0) >= at)
    command.process.send_signal(15)
    assert command.wait() in (0, 75), command.stderr()
    return workdir, shop


def _again(lab: Lab, workdir: Path, shop: Path, **more: object):
    return lab.train(workdir, shop_fields(shop) | {"num_epochs": 4, "checkpoint.every_steps": 3} | more)


def _refused(name: str, change: Change, words: Sequence[str], lab: Lab) -> Iterator[Try]:
    """Checks that a change is refused in a sentence, and that the run goes on once it is undone."""
    workdir, shop = _trained(lab)
    shutil.copytree(shop, lab.folder / "shop_before")
    shutil.copytree(workdir, lab.folder / "run_before")
    change(workdir, shop)
    result = refused(name, _again(lab, workdir, shop), words)
    shutil.rmtree(shop)
    (lab.folder / "shop_before").rename(shop)
    shutil.rmtree(workdir)
    (lab.folder / "run_before").rename(workdir)
    command = _again(lab, workdir, shop)
    went_on = command.wait() == 0 and len(end_of(workdir)[0]) == 4
    yield Try(name, result.survived and went_on, result.message + ("" if went_on else f" Then: {command.sentence()}"))


def _recorded(name: str, change: Change, lab: Lab, **more: object) -> Iterator[Try]:
    """Checks that a change is recorded, and that the run goes on."""
    workdir, shop = _trained(lab)
    change(workdir, shop)
    command = _again(lab, workdir, shop, **more)
    status = command.wait()
    starts = json.loads((workdir / "environment.json").read_text())["starts"]
    yield Try(
        name, status == 0 and bool(starts[-1]["changes"]), f"{status}: {command.sentence() or starts[-1]['changes']}"
    )


def _relabel(workdir: Path, shop: Path) -> None:
    rows = read_rows(shop)
    labels = [row[1:] for row in rows]
    write_rows(shop, [[row[0], *labels[(i + 1) % len(labels)]] for i, row in enumerate(rows)])


def _relabel_one(workdir: Path, shop: Path) -> None:
    rows = read_rows(shop)
    rows[5][1:] = rows[6][1:]
    write_rows(shop, rows)


def _repaint(names: slice) -> Change:
    def change(workdir: Path, shop: Path) -> None:
        for path in sorted((shop / "images").iterdir())[names]:
            ImageOps.invert(Image.open(path)).save(path)

    return change


def _exchange_images(workdir: Path, shop: Path) -> None:
    images = shop / "images"
    (images / "0.png").rename(images / "aside")
    (images / "1.png").rename(images / "0.png")
    (images / "aside").rename(images / "1.png")


def _remove_rows(workdir: Path, shop: Path) -> None:
    write_rows(shop, read_rows(shop)[:-4])


def _add_class(workdir: Path, shop: Path) -> None:
    rows = read_rows(shop)
    for row in rows[::5]:
        row[2] = "Novelty"
    write_rows(shop, rows)


def _exchange_siblings(workdir: Path, shop: Path) -> None:
    path = workdir / "taxonomy.json"
    text = path.read_text()
    path.write_text(text.replace("Topwear", "?").replace("Dress", "Topwear").replace("?", "Dress"))


def _remove(name: str) -> Change:
    return lambda workdir, shop: (workdir / name).unlink()


def _edit(name: str, edit: Callable[[bytes], bytes]) -> Change:
    return lambda workdir, shop: (workdir / name).write_bytes(edit((workdir / name).read_bytes()))


def _without_first_line(text: bytes) -> bytes:
    return text.split(b"\n", 1)[1]


def _twice_first_line(text: bytes) -> bytes:
    return text.split(b"\n", 1)[0] + b"\n" + text


_REFUSED: dict[str, tuple[Change, Sequence[str]]] = {
    "other labels for all": (_relabel, ["label"]),
    "another label for one": (_relabel_one, ["label"]),
    "other pixels in all images": (_repaint(slice(None)), []),
    "other pixels in one image": (_repaint(slice(7, 8)), []),
    "two images exchanged": (_exchange_images, []),
    "a new class": (_add_class, ["class"]),
    "siblings exchanged in taxonomy.json": (_exchange_siblings, []),
    "config.json removed": (_remove("config.json"), ["config.json"]),
    "taxonomy.json removed": (_remove("taxonomy.json"), ["taxonomy.json"]),
    "metrics.jsonl removed": (_remove("metrics.jsonl"), ["metrics.jsonl"]),
    "metrics.jsonl emptied": (_edit("metrics.jsonl", lambda text: b""), ["metrics.jsonl"]),
    "metrics.jsonl without its first line": (_edit("metrics.jsonl", _without_first_line), ["metrics.jsonl"]),
    "metrics.jsonl with a line twice": (_edit("metrics.jsonl", _twice_first_line), ["metrics.jsonl"]),
}
_RECORDED: dict[str, tuple[Change, dict[str, object]]] = {
    "more epochs": (lambda workdir, shop: None, {"num_epochs": 5}),
    "images removed": (_remove_rows, {}),
    "another batch size": (lambda workdir, shop: None, {"batch_size": 8}),
}


def _cut_line(lab: Lab) -> Iterator[Try]:
    """Checks that a half-written last line is written again."""
    workdir = lab.copy(at=20)
    path = workdir / "metrics.jsonl"
    text = path.read_bytes()
    path.write_bytes(text[: text.rindex(b"\n", 0, -1) + 1 + 40])
    command, same = lab.finish(workdir)
    yield Try("metrics.jsonl with half a line", same, told(command))


def _siblings_for_predict(lab: Lab) -> Iterator[Try]:
    """Exchanges two classes in taxonomy.json, which would misname every row of predict."""
    workdir = lab.copy()
    path = workdir / "taxonomy.json"
    taxonomy = json.loads(path.read_text())
    names = taxonomy["classes"]["sub"]
    names[0], names[1] = names[1], names[0]
    path.write_text(json.dumps(taxonomy))
    images = next((lab.folder.parent.parent / "cache").rglob("images"))
    for command, flags in (("predict", ["--input", images, f"--output={lab.folder / 'out.csv'}"]), ("evaluate", [])):
        started = lab.command(command, "--workdir", workdir, *flags)
        yield refused(f"siblings exchanged: {command}", started, ["taxonomy"], status=started.process.returncode or 2)


def _of_another_run(lab: Lab) -> Iterator[Try]:
    """Combines taxonomy.json and config.json of one run with the checkpoints of another."""
    workdir, other = lab.copy(), lab.folder / "other"
    assert lab.train(other, {"seed": 3, "num_epochs": 1}).wait() == 0
    shutil.rmtree(workdir / "checkpoints")
    shutil.copytree(other / "checkpoints", workdir / "checkpoints")
    command = lab.train(workdir)
    status, said = command.wait(), command.sentence()
    is_right = status in (1, 2) and is_sentence(said)
    yield Try("another run's checkpoints", is_right, f"{status}: {said} {steps(workdir)}")


CHANGED: list[Fault] = [
    *(functools.partial(_refused, name, change, words) for name, (change, words) in _REFUSED.items()),
    *(functools.partial(_recorded, name, change, **more) for name, (change, more) in _RECORDED.items()),
    _cut_line,
    _siblings_for_predict,
    _of_another_run,
]
