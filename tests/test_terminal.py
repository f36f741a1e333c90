"""What the terminal shows, on a screen and piped."""

import io

import pytest

from fashion_jax.command_line.formats import printable
from fashion_jax.terminal import Task, Terminal, doing
from tests.clock import Clock


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock():
    return Clock()


def test_a_pipe_gets_a_sign_of_life_once_a_minute(clock):
    stream = io.StringIO()
    terminal = Terminal(stream, clock)
    with terminal.doing(Task("Compiling", clock=clock)):
        for _ in range(180):
            clock.now += 1
            terminal.refresh()
    lines = stream.getvalue().splitlines()
    assert 3 <= len(lines) <= 4 and lines[0].startswith("Compiling, elapsed 0:") and lines[2].startswith("Compiling")
    assert not {"\r", "\x1b"} & set(stream.getvalue())


def test_a_pipe_hears_nothing_while_other_lines_are_printed(clock):
    stream = io.StringIO()
    terminal = Terminal(stream, clock)
    with terminal.doing(Task("Compiling", clock=clock)):
        for _ in range(10):
            clock.now += 40
            terminal.refresh()
            terminal.say("a line")
    assert set(stream.getvalue().splitlines()) == {"a line"}


def test_a_dumb_terminal_gets_plain_lines(clock, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    screen = Screen()
    terminal = Terminal(screen, clock)
    with terminal.doing(Task("Compiling", clock=clock)):
        clock.now += 59
        terminal.refresh()
    assert screen.getvalue() == "Compiling, elapsed 0:59\n"


def test_the_line_is_redrawn_on_a_screen_and_makes_room_for_lines_that_stay(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "41")
    monkeypatch.delenv("TERM", raising=False)
    screen = Screen()
    terminal = Terminal(screen, clock)
    with terminal.doing(Task("Checking a large number of images", 2000, clock)) as task:
        terminal.refresh()
        assert screen.getvalue() == "", "what ends at once is not shown"
        for done in (500, 1000):
            clock.now += 5
            task.reached(done)
            terminal.refresh()
        terminal.refresh()
        drawn = screen.getvalue().split("\r\x1b[K")
        assert drawn[1:] == ["Checking a large number of images: 500", "Checking a large number of images: 1,0"]
        terminal.say("said")
    assert screen.getvalue().endswith("\r\x1b[Ksaid\n")


def test_the_innermost_task_is_shown(clock):
    stream = io.StringIO()
    terminal = Terminal(stream, clock)
    with terminal.doing(Task("Training", clock=clock)):
        with terminal.doing(Task("Evaluating", clock=clock)):
            clock.now += 60
            terminal.refresh()
        clock.now += 60
        terminal.refresh()
    assert [line.split(",")[0] for line in stream.getvalue().splitlines()] == ["Evaluating", "Training"]


def test_a_task_tells_the_time_left_and_what_the_first_items_took(clock):
    task = Task("Evaluating", 50, clock)
    assert task.head_start() is None
    clock.now += 30  # a compilation and an item
    task.reached(10)
    assert task.head_start() is None
    clock.now += 20
    task.reached(20)
    assert task.line(clock.now, 80) == "Evaluating: 20 of 50, elapsed 0:50, left 1:00"
    assert task.head_start() == 10


def test_a_screen_breaks_prose_between_words_and_leaves_commands_whole(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    screen, piped = Screen(), io.StringIO()
    for stream in (screen, piped):
        Terminal(stream).say("Note: each epoch leaves out sixteen images.")
        Terminal(stream).say("python -m fashion_jax.predict --workdir runs/mtl", as_is=True)
    command = "python -m fashion_jax.predict --workdir runs/mtl"
    assert screen.getvalue().splitlines() == ["Note: each epoch leaves out", "  sixteen images.", command]
    assert piped.getvalue().splitlines() == ["Note: each epoch leaves out sixteen images.", command]


def test_without_a_terminal_tasks_are_told_on_standard_error(capsys):
    with doing("Checking images", 3) as task:
        task.reached(3)
    assert capsys.readouterr() == ("", "")


def test_control_characters_are_escaped():
    stream = io.StringIO()
    Terminal(stream).say("Bags\x1b[2J\x07\u202e")
    assert stream.getvalue() == "Bags\\x1b[2J\\x07\\u202e\n"
    assert printable("Größe 4½ 鞋") == "Größe 4½ 鞋"
