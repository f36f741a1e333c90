"""python -m fashion_jax: the list of the commands, and a command of its own."""

import importlib
import subprocess
import sys

import pytest

import fashion_jax
from fashion_jax import __main__ as commands
from tests.conftest import ROOT


def run(monkeypatch, *arguments: str, program: str = "/package/__main__.py") -> int:
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    return commands.main()


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_it_lists_the_commands_and_how_to_get_help(monkeypatch, capsys, arguments):
    assert run(monkeypatch, *arguments) == 0
    out = capsys.readouterr().out
    for name in ("train", "evaluate", "predict", "prepare"):
        assert f"\n  {name} " in out
    assert "COMMAND --help" in out


@pytest.mark.parametrize(
    ("program", "typed"),
    [("/venv/bin/fashion-jax", "fashion-jax"), ("/package/__main__.py", "python -m fashion_jax")],
)
def test_usage_lines_say_what_was_typed(monkeypatch, capsys, program, typed):
    assert run(monkeypatch, program=program) == 0
    assert f"usage: {typed} COMMAND" in capsys.readouterr().out
    for name, (module, _) in commands.COMMANDS.items():
        parsed = importlib.import_module(f"fashion_jax.{module}")
        monkeypatch.setattr(parsed, "main", lambda parse=parsed.parse: parse(["--help"]))
        with pytest.raises(SystemExit, match="0"):
            run(monkeypatch, name, program=program)
        assert f"usage: {typed} {name} " in capsys.readouterr().out.replace("\n", " ")


def test_the_version_is_printed(monkeypatch, capsys):
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"fashion_jax {fashion_jax.__version__}\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("trian", "did you mean train?"),
        ("eval", "did you mean evaluate?"),
        ("--config", "before the flags"),
        ("zz", "zz"),
    ],
)
def test_an_unknown_command_is_told_the_close_one(monkeypatch, capsys, name, said):
    assert run(monkeypatch, name) == 2
    assert said in capsys.readouterr().err


def test_it_runs_a_command_and_returns_its_status():
    command = [sys.executable, "-m", "fashion_jax", "train", "--config", "configs/smoke.py", "--lr=3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "did you mean --config.learning_rate=3?" in done.stderr
