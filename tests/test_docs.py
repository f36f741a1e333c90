"""The pages: commands are run or at least parsed, links lead somewhere, and architecture.md names what exists."""

import importlib
import os
import re
import shlex
import shutil
import subprocess
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import fashion_jax
from fashion_jax import demo, evaluate, export, main, predict, prepare
from fashion_jax.config.loading import config_to_json, flatten, get_config, load_config, load_run_config
from fashion_jax.errors import UserError
from fashion_jax.models.pretrained import __main__ as pretrained
from fashion_jax.workdir.paths import config_path
from tests.shop import smallest_image, write_image, write_table

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
PROGRAMS = {"main": main, "evaluate": evaluate, "predict": predict, "prepare": prepare, "export": export, "demo": demo}
SCRIPTS = sorted(f"scripts/{path.name}" for path in (ROOT / "scripts").iterdir() if path.is_file())

# Overrides that make a training take seconds: few images and steps, and the network that conftest.py makes small.
TINY = (
    "--config.batch_size=16",
    "--config.num_epochs=1",
    "--config.image_size=32",
    "--config.model.name=resnet10",
    "--config.eval_flip=false",
)
# A run on the reader's table, for pages that take one for granted.
MINE = (
    *("--config", "configs/default.py", *TINY),
    *("--config.data.path=photos", "--config.data.csv=products.csv", "--config.data.image=images/{id}.jpg"),
    "--config.data.levels={'main': 'category', 'sub': 'subcategory'}",
)
CATALOGUE = (*TINY, "--config.data.catalogue.num_images=200")
# Commands that are run: page -> beginning of the command -> arguments appended to it. A page's commands are run one
# after the other in one folder, so that each finds what those before it have written.
RUN = {
    "README.md": {
        "python -m fashion_jax.main --config configs/mtl.py": CATALOGUE,
        "python -m fashion_jax.main --config configs/default.py --workdir runs/mine": TINY,
        "python -m fashion_jax.predict": (),
        "python -m fashion_jax.evaluate": (),
    },
    "docs/data.md": {
        "python -m fashion_jax.main --config configs/default.py": TINY,
        "python -m fashion_jax.evaluate": (),
        "python -m fashion_jax.prepare": CATALOGUE,
    },
    "docs/predicting.md": {
        "python -m fashion_jax.main --config configs/smoke.py": CATALOGUE,
        "python -m fashion_jax.predict": (),
        "python -m fashion_jax.evaluate": (),
        "python -m benchmarks.label_errors": (),
    },
    "docs/exporting.md": {
        "python -m fashion_jax.main --config configs/smoke.py": CATALOGUE,
        "python -m fashion_jax.export": (),
        "python -m fashion_jax.evaluate": (),
    },
}
# Pages whose commands take over 20 seconds. Those of README.md do too, but nothing else runs them all.
LONG = {"docs/predicting.md", "docs/exporting.md"}
INSTALLS = "downloads packages"
DOWNLOAD = "needs a data set that has to be downloaded, and takes hours"
# Commands that are only parsed: page -> beginning of the command -> why it is not run.
PARSED = {
    "README.md": {
        "scripts/train": INSTALLS,
        "scripts/test": INSTALLS,
        "pip install": INSTALLS,
        "python -m fashion_jax.main --config configs/default.py --workdir runs/shop": "docs/data.md runs it on folders",
        "python -m fashion_jax.main --config configs/finetune.py": "needs weights that have to be downloaded",
        "python -m fashion_jax.export": "docs/exporting.md runs it",
        "python -m fashion_jax.demo": "serves until it is ended",
    },
    "CONTRIBUTING.md": {"scripts/bootstrap": INSTALLS, "scripts/test": INSTALLS},
    "docs/recipes.md": {
        "python -m fashion_jax.main": "needs two trained runs, and trains two large trunks for hours",
        "python -m benchmarks.ablation": DOWNLOAD,
    },
    "docs/exporting.md": {"pip install": INSTALLS},
    "docs/pretrained.md": {
        "pip install": INSTALLS,
        "python -m fashion_jax.main": "needs weights that have to be downloaded",
        "python -m fashion_jax.models.pretrained": "needs weights that have to be downloaded",
    },
    "docs/demo.md": {
        "pip install": INSTALLS,
        "python -m fashion_jax.demo --workdir runs/mtl --static": "needs onnxruntime-web, which has to be downloaded",
        "python -m fashion_jax.demo --workdir runs/mtl": "serves until it is ended",
    },
    "docs/clusters.md": {
        "python -m fashion_jax.main": "needs a cluster",
        "python -m fashion_jax.predict": "needs a cluster",
    },
    "docs/scale.md": {"python -m benchmarks.scale": "measures for a minute; tests/test_scale.py compares its tables"},
    "docs/speed.md": {"scripts/accelerator": INSTALLS},
    "docs/results.md": {
        "scripts/train": INSTALLS,
        "python -m fashion_jax.main": DOWNLOAD,
        "python -m fashion_jax.evaluate": "needs runs of hours",
        "python -m benchmarks.torch_recipe": DOWNLOAD,
        "python -m benchmarks.ablation": DOWNLOAD,
    },
}
# The function of a benchmark that does its work; parsing ends where it is called.
WORK = {
    "ablation": "runs_of",
    "against_torch": "_measured_apart",
    "input_pipeline": "write_photographs",
    "torch_recipe": "train",
}


class Command(NamedTuple):
    """One command of a page, as words after the shell has expanded them."""

    page: str
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        return shlex.join(self.words)

    def entry(self, table: dict[str, dict]) -> str | None:
        """Returns the first beginning in the page's part of RUN or PARSED that this command has."""
        return next((start for start in table.get(self.page, {}) if self.text.startswith(start)), None)


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def without_blocks(text: str) -> str:
    """Returns a page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def shell_blocks(text: str) -> list[str]:
    """Returns the fenced blocks without a language or with a shell's."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [block for language, block in blocks if language in ("", "sh", "bash", "shell", "console")]


def expanded(block: str) -> list[tuple[str, ...]]:
    """Returns the commands that bash would run for a block: variables, loops and quotes are expanded.

    No program is started: each is replaced by a function that only records its arguments.
    """
    record = '{ printf "%s\\0" "${FUNCNAME[0]}" "$@"; printf "\\n\\0"; }'
    names = ["python", "pip", *SCRIPTS]
    lines = [f"function {name} {record}" for name in names]
    lines.append('command_not_found_handle() { printf "%s\\0" "$@"; printf "\\n\\0"; }')
    script = "\n".join(["set -e", "PATH=", *lines, block])
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=ROOT / "tests")
    assert done.returncode == 0, f"bash cannot run this block: {done.stderr}\n{block}"
    return [tuple(words.split("\0")[:-1]) for words in done.stdout.split("\n\0")[:-1]]


def block_commands() -> list[Command]:
    return [Command(page, words) for page in PAGES for block in shell_blocks(read(page)) for words in expanded(block)]


def inline_commands() -> list[Command]:
    """Returns the commands in the text of the pages; they stand there for reference and are only parsed."""
    found = []
    for page in PAGES:
        spans = [span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", without_blocks(read(page)))]
        spans = [span for span in spans if re.match(r"python -m (fashion_jax|benchmarks)\.|scripts/\w+ ", span)]
        found += [Command(page, words) for span in spans for words in expanded(span)]
    return found


BLOCK_COMMANDS = block_commands()


@pytest.mark.parametrize("command", BLOCK_COMMANDS, ids=lambda command: f"{command.page}: {command.text[:60]}")
def test_it_is_known_whether_a_command_is_run(command):
    kinds = [name for name, table in (("RUN", RUN), ("PARSED", PARSED)) if command.entry(table)]
    found = " and ".join(kinds) or "neither RUN nor PARSED"
    assert len(kinds) == 1, (
        f"{command.page} has the command {command.text!r}, which is in {found} of "
        "tests/test_docs.py: add its beginning to RUN, with arguments that make it take seconds, or to PARSED, with "
        "the reason why it is not run (over two minutes, a cluster, a GPU, a network)."
    )


@pytest.mark.parametrize("table", [RUN, PARSED], ids=["RUN", "PARSED"])
def test_every_entry_is_of_a_command(table):
    used = {(command.page, command.entry(table)) for command in BLOCK_COMMANDS}
    assert [(page, start) for page, starts in table.items() for start in starts if (page, start) not in used] == []


@pytest.mark.parametrize(
    "command",
    [*dict.fromkeys([*BLOCK_COMMANDS, *inline_commands()])],
    ids=lambda command: f"{command.page}: {command.text[:60]}",
)
def test_a_command_is_parsed(command, monkeypatch, tmp_path):
    make_checkout(tmp_path)
    monkeypatch.chdir(tmp_path)
    check(command.words, monkeypatch)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("python -m fashion_jax.main --config configs/mtl.py --workdri runs/x", "--workdri"),
        ("python -m fashion_jax.main --config configs/mtl.py --config.num_epoch=3", "num_epochs"),
        ("python -m fashion_jax.main --config configs/mtl.py --config.augment=mirror", "mirror"),
        ("python -m fashion_jax.predict --workdir runs/x --inputs photos --output p.csv", "--inputs"),
        ("python -m fashion_jax.evaluate --workdir runs/x --jsn x.json", "--jsn"),
        ("python -m fashion_jax.evaluate --workdir runs/x --config.batch_size=3", "batch_size cannot be changed"),
        ("python -m fashion_jax.prepare --config configs/nothing.py --output x", "configs/nothing.py"),
        ("python -m benchmarks.train_step --step 3", "refuses"),
        ("python -m benchmarks.label_errors errors.csv --noise 0.05", "refuses"),
        ("python -m fashion_jax.nothing", "fashion_jax.nothing"),
        ("scripts/nothing", "scripts/nothing"),
        ("scripts/bootstrap nothing", "nothing"),
        ("scripts/test tests/test_nothing.py", "test_nothing.py"),
        ("pip install -c constraint.txt -e .", "constraint.txt"),
        ("pip install -c constraints.txt -e '.[nothing]'", "nothing"),
        ("flax train", "flax is no program"),
    ],
)
def test_a_wrong_command_is_found(wrong, said, monkeypatch, tmp_path):
    make_checkout(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises((UserError, AssertionError), match=re.escape(said)):
        check(tuple(shlex.split(wrong)), monkeypatch)


def check(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parses a command with its own parser; raises UserError or AssertionError if something about it is wrong."""
    program, *arguments = words
    if program == "pip":
        check_install(arguments)
    elif program.startswith("scripts/"):
        check_script(program, arguments)
    else:
        assert (program, *arguments[:1]) == ("python", "-m"), f"{program} is no program of this project"
        package, _, name = arguments[1].partition(".")
        place = Path(package, *name.split("."))
        files = place.with_suffix(".py"), place / "__main__.py"
        assert any(file.is_file() for file in files), f"there is no module {arguments[1]}"
        (check_program if package == "fashion_jax" else check_benchmark)(name, arguments[2:], monkeypatch)


def check_install(arguments: list[str]) -> None:
    assert arguments[:4] == ["install", "-c", "constraints.txt", "-e"], f"pip {arguments} is not the installation"
    requirement = re.fullmatch(r"\.(?:\[(.+)\])?", arguments[4])
    assert requirement, f"{arguments[4]} is not this project"
    check_extras((requirement[1] or "").split(","))


def check_extras(names: list[str]) -> None:
    known = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]
    assert set(filter(None, names)) <= set(known), f"not all of {names} are extras"


def check_script(program: str, arguments: list[str]) -> None:
    assert program in SCRIPTS, f"there is no {program}"
    if program == "scripts/bootstrap":
        check_extras(arguments)
    elif program == "scripts/train":
        main.parse(["--config", "configs/mtl.py", *arguments])
    elif program == "scripts/test":
        files = [Path(argument) for argument in arguments if argument.endswith(".py")]
        assert all(file.is_file() for file in files), f"not all of {files} exist"


def check_program(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [Path(arguments[i + 1]) for i, flag in enumerate(arguments) if flag == "--workdir"]
    for run in runs if name in ("predict", "evaluate", "export", "demo") else []:  # these read the config of the run
        run.mkdir(parents=True)
        (run / "config.json").write_text(config_to_json(load_config("configs/default.py")), encoding="utf-8")
    if name == "models.pretrained":
        pretrained.parse(arguments)
        return
    flags, overrides, *beam = PROGRAMS[name].parse(arguments)
    assert not any(beam), f"{beam} are no flags of this project"
    if name in ("predict", "evaluate", "export", "demo"):
        for run in runs:
            load_run_config(config_path(run), overrides)
    else:
        load_config(flags.config, overrides)


class Parsed(Exception):
    """Raised where a benchmark would begin its work."""


def check_benchmark(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if "--twin" in arguments:
        pytest.importorskip("torch")
    Path("errors.csv").touch()  # label_errors checks that it exists
    try:
        is_package = Path("benchmarks", name).is_dir()
        module = importlib.import_module(f"benchmarks.{name}.__main__" if is_package else f"benchmarks.{name}")
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")
    begun = []

    def begin(*_: object, **__: object) -> None:
        begun.append(name)
        raise Parsed

    monkeypatch.setattr(os, "environ", os.environ.copy())
    twin = "measure_with_twin" if "--twin" in arguments else "measure"
    monkeypatch.setattr(module, WORK.get(name, "precision" if name == "label_errors" else twin), begin)
    module.main(list(arguments))
    assert begun, f"benchmarks.{name} refuses {arguments}"


def make_checkout(folder: Path) -> None:
    """Fills a folder with links to the files of the project, so that nothing is written into the project itself."""
    for path in ROOT.iterdir():
        if path.name in ("benchmarks", "configs", "docs", "fashion_jax", "scripts", "tests") or path.suffix in (
            ".md",
            ".txt",
        ):
            (folder / path.name).symlink_to(path)


def write_readers_data(folder: Path) -> None:
    """Writes what the pages take for granted: a reader's photos, tables and zips."""
    labels = [("clothes", "shirts"), ("clothes", "dresses"), ("shoes", "sandals"), ("shoes", "boots")]
    rows = [(str(i), *labels[i % 4]) for i in range(40)]
    header = ("id", "category", "subcategory")
    photos = folder / "photos"
    for i, main_class, sub_class in rows:
        split = "validation" if int(i) < 8 else "train"
        (folder / "shop" / sub_class).mkdir(parents=True, exist_ok=True)
        (folder / "shop" / sub_class / f"{i}.jpg").write_bytes(smallest_image(i))
        for place in (f"images/{i}.jpg", f"{split}/{main_class}/{sub_class}/{i}.jpg"):
            (photos / place).parent.mkdir(parents=True, exist_ok=True)
            (photos / place).write_bytes(smallest_image(i))
    write_table(photos / "products.csv", rows, header)
    for name in ("more.zip", "returns.zip"):
        with zipfile.ZipFile(folder / name, "w") as archive:
            for i, *_ in rows:
                archive.writestr(f"images/{i}.jpg", smallest_image(i))
            if name == "returns.zip":
                archive.write(photos / "products.csv", "labels.csv")
    shutil.copy(photos / "images" / "0.jpg", folder / "one.jpg")


@pytest.mark.parametrize("page", [pytest.param(page, marks=pytest.mark.long if page in LONG else ()) for page in RUN])
def test_the_commands_of_a_page_run(page, catalogue_cache, no_report, monkeypatch, tmp_path):
    make_checkout(tmp_path)
    write_readers_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    for command in BLOCK_COMMANDS:
        start = command.entry(RUN) if command.page == page else None
        if start is not None:
            _, _, module, *arguments = command.words
            arguments += RUN[page][start]
            make_missing_runs(arguments)
            assert importlib.import_module(module).main(arguments) == 0, f"{command.text} fails"


def make_missing_runs(arguments: list[str]) -> None:
    """Trains the runs that an evaluation or prediction names and that no command before it has made."""
    named = [arguments[i + 1] for i, argument in enumerate(arguments) if argument == "--workdir"]
    for workdir in named if "--config" not in arguments else []:
        if not Path(workdir, "config.json").exists():
            assert main.main([*MINE, "--workdir", workdir]) == 0


def python_of(page: str) -> str:
    """Returns the blocks of Python of a page, one after the other."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", read(page), re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_python_of_a_page_runs(page, finished_run, tiny_config, monkeypatch, tmp_path):
    """Its run has been trained before, so that it is found complete."""

    def config_of_the_run(*arguments: object, **fields: object) -> object:
        get_config(*arguments, **fields)
        return tiny_config

    write_readers_data(tmp_path)
    for name in ("mtl", "mine"):
        shutil.copytree(finished_run, tmp_path / "runs" / name)
    shutil.copy(tmp_path / "one.jpg", tmp_path / "a.jpg")
    write_image(tmp_path / "b.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fashion_jax, "get_config", config_of_the_run)
    names: dict[str, Any] = {}
    exec(python_of(page), names)
    assert names["answer"].classes and not names["answer"].error


LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """Returns the names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path: Path, text: str) -> list[str]:
    """Returns the relative links of a page that lead to no file, or to no heading of it."""
    broken = []
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, heading = link.partition("#")
        target = path.parent / file
        if not target.exists() or (
            heading and heading not in anchors(target.read_text(encoding="utf-8") if file else text)
        ):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", [*PAGES, "benchmarks/README.md"])
def test_the_links_of_a_page_lead_somewhere(page):
    assert broken_links(ROOT / page, read(page)) == []


def test_a_broken_link_is_found():
    text = "# One heading: `two`\n[a](nothing.md) [b](#one-heading-two) [c](#nothing) [d](README.md#nothing) [e](https://x.y/z)"
    assert broken_links(ROOT / "page.md", text) == ["nothing.md", "#nothing", "README.md#nothing"]


def exists(name: str) -> bool:
    """Whether a name is a file, a folder, a module, a name inside of a module, or a config field."""
    if name in flatten(load_config("configs/default.py")):
        return True
    if "/" in name or name.endswith(".py"):
        return any((root / name).exists() for root in (ROOT, ROOT / "fashion_jax"))
    *parents, last = name.split(".")
    module = ROOT.joinpath("fashion_jax", *parents)
    if (module / last).is_dir() or (module / last).with_suffix(".py").is_file():
        return True
    source = module.with_suffix(".py") if module.with_suffix(".py").is_file() else module / "__init__.py"
    pattern = rf"^(?:    )?(?:def|class) {last}\b|^(?:    )?{last}\b.*[:=]"
    return source.is_file() and re.search(pattern, source.read_text(encoding="utf-8"), re.MULTILINE) is not None


def architecture_names() -> Iterator[str]:
    """Yields the names in architecture.md that are of this project: paths and dotted names."""
    tops = {path.stem for path in (ROOT / "fashion_jax").iterdir()}
    for span in re.findall(r"`([^`\n]+)`", without_blocks(read("docs/architecture.md"))):
        is_ours = "/" in span or span.endswith(".py") or span.split(".")[0] in tops
        if is_ours and re.fullmatch(r"[\w/]+(\.\w+)*/?", span):
            yield span


def test_the_names_of_the_architecture_exist():
    names = [*architecture_names()]
    assert len(names) > 50
    assert [name for name in names if not exists(name)] == []


@pytest.mark.parametrize("name", ["models/nothing.py", "step.nothing", "step.train_step.nothing", "nothing/"])
def test_a_name_that_does_not_exist_is_found(name):
    assert not exists(name)


def imported_by(box: str) -> set[str]:
    """Returns the packages and root modules that a package or root module imports."""
    path = ROOT / "fashion_jax" / box
    files = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
    return {name for file in files for name in re.findall(r"fashion_jax\.(\w+)", file.read_text(encoding="utf-8"))}


def test_the_diagram_has_every_package_and_its_arrows_are_imports():
    diagram = re.search(r"```mermaid\n(.*?)```", read("docs/architecture.md"), re.DOTALL)[1]
    packages = {path.name for path in (ROOT / "fashion_jax").iterdir() if any(path.glob("*.py"))}
    assert {name for name in packages if not re.search(rf"\b{name}\b", diagram)} == set()
    arrows = re.findall(r"^ *(\w+)(?:\[.*?\])? --> (\w+)", diagram, re.MULTILINE)
    inner = [(above, below) for above, below in arrows if {above, below} <= packages]
    assert len(inner) > 10
    assert [arrow for arrow in inner if arrow[1] not in imported_by(arrow[0])] == []
