"""The program in the card of an export, run with the packages of its runtime alone."""

import os
import subprocess
import venv
from pathlib import Path

import pytest

import fashion_jax as fj
from fashion_jax import export
from fashion_jax.serving.exports.card_lines import PACKAGES

# Runs the card's program for each photo, in one process: what each printed is a line of class names.
_DRIVER = """
import contextlib, io, sys
from pathlib import Path

program = Path("card.md").read_text(encoding="utf-8").split("```python\\n")[1].split("```")[0]
for photo in Path(sys.argv[1]).read_text().splitlines():
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(program.replace("photo.jpg", photo), {})
    print("|".join(line.split(" ", 1)[1].rsplit(" ", 1)[0] for line in out.getvalue().splitlines()), flush=True)
"""


@pytest.mark.long
@pytest.mark.parametrize("name", PACKAGES)
def test_the_program_runs_with_its_packages_alone(name, finished_run, catalogue_cache, tmp_path):
    folder = tmp_path / "export"
    assert export.main(["--workdir", str(finished_run), "--output", str(folder), "--format", name]) == 0
    (images,) = Path(catalogue_cache).glob("catalogue-*-1000-0/images")
    photos = sorted(map(str, images.iterdir()))[:300]
    (tmp_path / "photos.txt").write_text("\n".join(photos))
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES[name].split()], check=True)
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "XLA_FLAGS")}
    done = subprocess.run(
        [python, "-c", _DRIVER, tmp_path / "photos.txt"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = done.stdout.splitlines()
    expected = ["|".join(answer.classes.values()) for answer in fj.load(folder).predict(photos)]
    assert sum(a == b for a, b in zip(found, expected, strict=True)) >= 0.99 * len(photos)
