"""What the terminal shows, on a screen and piped."""

import io

import pytest

from fashion_jax.command_line import duration, printable
from fashion_jax.training.terminal import Terminal


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_terminal_is_plain_when_piped():
    stream = io.StringIO()
    terminal = Terminal(stream)
    for step in (1, 2):
        terminal.progress(step, 10, "epoch 1/2", 100.0, 0.5)
    terminal.say("epoch 1/2")
    assert stream.getvalue() == "epoch 1/2\n"


def test_the_progress_line_is_redrawn_on_a_screen(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    screen = Screen()
    terminal = Terminal(screen)
    for step in (5, 6, 7):
        terminal.progress(step, 10, "epoch 1/2", 100.0, 0.5)
    drawn = screen.getvalue().split("\r\x1b[K")
    assert [line[:20] for line in drawn] == ["", "epoch 1/2  step 6/10", "epoch 1/2  step 7/10"]
    assert max(map(len, drawn)) < 40 and "\n" not in screen.getvalue()
    terminal.say("done")
    assert screen.getvalue().endswith("\r\x1b[Kdone\n")


def test_control_characters_are_escaped():
    stream = io.StringIO()
    Terminal(stream).say("Bags\x1b[2J\x07\u202e")
    assert stream.getvalue() == "Bags\\x1b[2J\\x07\\u202e\n"
    assert printable("Größe 4½ 鞋") == "Größe 4½ 鞋"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (65, "1:05"), (7390, "2:03:10")])
def test_durations(seconds, text):
    assert duration(seconds) == text
