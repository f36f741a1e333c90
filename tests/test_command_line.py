"""Standard streams of the commands that may break."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fashion_jax.command_line import Parser, run_command, typed_command
from fashion_jax.errors import UserError
from tests.conftest import ROOT

PROGRAM = """
import subprocess, sys
from pathlib import Path
from fashion_jax.command_line import run_command
from fashion_jax.terminal import Terminal

def command(arguments):
    terminal = Terminal()
    for i in range(2000):
        terminal.say(f"\\u978b {i} " + "x" * 100)
        print("Gr\\u00f6\\u00dfe", file=sys.stderr)
    print("\\udcff")
    subprocess.run(["sh", "-c", "echo printed by a library"])
    Path(arguments[0]).write_text("done")

sys.exit(run_command(command, None))
"""


def ends_well(path, redirection: str = "", pipe: str = "", environment=None) -> str:
    """Runs PROGRAM in a shell, checks its status and that it came to its end; returns what it has printed."""
    command = f'{{ "$1" -c "$2" "$3" {redirection}; echo "status $?" >&4; }} {pipe}'
    done = subprocess.run(
        ["sh", "-c", f"exec 4>'{path}.status'; {command}", "sh", sys.executable, PROGRAM, path],
        cwd=ROOT,
        capture_output=True,
        env=os.environ | (environment or {}),
    )
    assert path.with_name(path.name + ".status").read_text() == "status 0\n"
    assert path.read_text() == "done"
    assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr
    return (done.stdout + done.stderr).decode("utf-8", "surrogateescape")


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&- <&-", ">/dev/full", ">/dev/full 2>/dev/full"])
def test_a_stream_that_is_closed_or_full_loses_what_is_printed_and_nothing_else(tmp_path, redirection):
    ends_well(tmp_path / "out", redirection)


def test_a_reader_that_ends_stops_nothing(tmp_path):
    assert ends_well(tmp_path / "out", "2>/dev/null", "| head -n 1").startswith("鞋 0 x")


def test_names_that_the_terminal_cannot_show_are_escaped(tmp_path):
    printed = ends_well(tmp_path / "out", environment={"LC_ALL": "C", "PYTHONIOENCODING": "ascii"})
    assert "\\u978b 1999 x" in printed and "Gr\\xf6\\xdfe" in printed and "\\udcff" in printed


def test_names_are_utf8_where_the_locale_is_ascii(tmp_path):
    variables = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "fashion_jax.main", "--config", os.fsencode(tmp_path / "grün.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, env=variables)
    assert done.returncode == 2 and "grün.py' is not a config file" in done.stderr.decode()


def test_no_thread_of_a_library_delays_the_end():
    """orbax leaves threads that wait for five minutes where a checkpoint cannot be saved."""
    program = (
        "import sys, threading, time\n"
        "from fashion_jax.command_line import run_command\n"
        "from fashion_jax.errors import RunError\n"
        "def command(arguments):\n"
        "    threading.Thread(target=time.sleep, args=(3600,)).start()\n"
        "    raise RunError('The disk fails.')\n"
        "sys.exit(run_command(command, None))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (1, "The disk fails.\n")


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path):
    """Otherwise the file would receive what libraries print to descriptors 1 and 2."""
    program = (
        "import os, sys\n"
        "from fashion_jax.command_line import run_command\n"
        "def command(arguments):\n"
        "    with open(arguments[0], 'w') as file:\n"
        "        os.write(1, b'printed'), os.write(2, b'printed')\n"
        "        file.write(f'{file.fileno() > 2}')\n"
        "sys.exit(run_command(command, None))\n"
    )
    command = ["sh", "-c", '"$1" -c "$2" "$3" >&- 2>&- <&-', "sh", sys.executable, program, tmp_path / "file"]
    subprocess.run(command, cwd=ROOT, check=True)
    assert (tmp_path / "file").read_text() == "True"


def test_a_tilde_is_the_home_directory_in_arguments_and_in_the_values_of_flags(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    seen: list[str] = []
    assert run_command(seen.extend, ["--input", "~/a b", "~", "--workdir=~/runs/x", "--config.data.csv=~/t.csv"]) == 0
    assert seen == [
        "--input",
        "/home/ada/a b",
        "/home/ada",
        "--workdir=/home/ada/runs/x",
        "--config.data.csv=/home/ada/t.csv",
    ]
    kept = ["a~", "~/x~"[1:], "--config.data.image={x}/~/{id}.jpg", "a=~/b"]
    seen.clear()
    assert run_command(seen.extend, kept) == 0 and seen == kept


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """Returns a project with a virtual environment, whose Python runs this process, as the current directory."""
    programs = tmp_path / "project" / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    monkeypatch.chdir(tmp_path / "project")
    return programs


def test_a_command_to_type_names_the_python_of_an_environment_that_is_not_active(environment, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert typed_command("predict", "my run") == ".venv/bin/python -m fashion_jax.predict 'my run'"
    (environment / "elsewhere").mkdir()
    monkeypatch.chdir(environment / "elsewhere")
    assert typed_command("predict") == f"{environment}/python -m fashion_jax.predict"


def test_a_command_to_type_is_plain_where_the_environment_is_active(environment, monkeypatch):
    monkeypatch.setenv("PATH", f"{environment}:/usr/bin:/bin")
    assert typed_command("predict") == "python -m fashion_jax.predict"


def test_a_command_to_type_is_of_the_program_that_was_typed(environment, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fashion-jax train", "--config", "mtl"])
    assert typed_command("predict", "x") == ".venv/bin/fashion-jax predict x"
    (environment / "fashion-jax").touch(0o755)
    monkeypatch.setenv("PATH", f"{environment}:/usr/bin:/bin")
    assert typed_command("predict", "x") == "fashion-jax predict x"


@pytest.mark.parametrize("value", ["gs://bucket/run", "s3://bucket/run", "https://host/x.csv"])
def test_addresses_of_remote_stores_are_refused(value):
    parser = Parser(prog="x")
    parser.add_argument("--workdir", type=Path)
    parser.add_argument("--input", nargs="+")
    for arguments in (["--workdir", value], ["--input", "photos", value]):
        with pytest.raises(UserError, match=rf"^{arguments[0]} is '{value[:2]}.*mount the store") as raised:
            parser.parse(arguments)
        assert "\n" not in str(raised.value)


def test_paths_of_this_machine_are_no_addresses(tmp_path):
    parser = Parser(prog="x")
    parser.add_argument("--workdir", type=Path)
    for value in (str(tmp_path), "runs/a:b", "C:/runs", "~/x", "a/gs:/b"):
        assert parser.parse(["--workdir", value])[0].workdir == Path(value)


def test_a_flag_with_a_space_is_no_value_of_the_flag_before_it():
    parser = Parser(prog="x", allow_abbrev=False)
    parser.add_argument("--input", nargs="+", action="extend")
    parser.add_argument("--output")
    arguments = ["--input", "my photos", "--config.data.cache_dir=/mnt/my cache", "--output=my out.csv"]
    flags, overrides = parser.parse(arguments)
    assert (flags.input, flags.output) == (["my photos"], "my out.csv")
    assert overrides == [("data.cache_dir", "/mnt/my cache")]
    assert parser.parse(["--input", "a", "--config.x", "b c"])[1] == [("x", "b c")]
    with pytest.raises(UserError, match=r"^There is no flag '--outpt'; did you mean --output\?"):
        parser.parse(["--input", "a", "--outpt=/tmp/my file.csv"])
