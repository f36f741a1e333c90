"""Prints lines that stay, and says what a command is doing: redrawn on a screen, elsewhere a plain line a minute."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TextIO, TypeVar

from fashion_jax.command_line.formats import duration, printable, rate

WIDTH = 80  # columns of the line that is redrawn, where the screen has as many

_SILENCE = 50.0  # seconds without a line after which one says what is being done: at least one a minute
_PATIENCE = 1.0  # seconds that something takes before the screen says so
_REDRAWS = 5  # times a second
_ECHO = 3  # columns that stay free, where the screen shows ^C when that is typed

_CLEAR = "\r\x1b[K"


class Activity(Protocol):
    """Anything that a command does for a while, which can say how far it is."""

    def line(self, now: float, width: int | None) -> str:
        """Returns what is being done, at a time of the terminal's clock, in a line of `width` columns or a plain one.

        Args:
            now: in seconds.
            width: columns of the screen; None if the line goes elsewhere, and stays.
        """
        ...


AnyActivity = TypeVar("AnyActivity", bound=Activity)


class Task:
    """An activity that goes through items, of which the number may be known, or is only named."""

    def __init__(self, what: str, total: int = 0, clock: Callable[[], float] = time.monotonic, unit: str = ""):
        """Begins now; see `doing` for the arguments."""
        self._what, self._total, self._clock, self._unit = what, total, clock, unit
        self._began = clock()
        self._first = self._last = (self._began, 0)

    def reached(self, done: int) -> None:
        """Notes how many of the items are done."""
        self._last = (self._clock(), min(done, self._total) if self._total else done)
        if not self._first[1]:
            self._first = self._last

    def line(self, now: float, width: int | None) -> str:
        """Returns the items done, their rate if they have a unit, and the times elapsed and left, as far as known."""
        done = self._last[1]
        of_total = f" of {self._total:,}" if self._total else ""
        of = f": {done:,}{of_total} {self._unit}".rstrip() if done else ""
        seconds = self._item_seconds()
        if self._unit and seconds:
            of += f", {rate(1 / seconds)} {self._unit}/s"
        left = (
            "" if seconds is None or not self._total else f", left {duration(max(seconds * (self._total - done), 0))}"
        )
        return f"{self._what}{of}, elapsed {duration(now - self._began)}{left}"

    def head_start(self) -> float | None:
        """Returns the seconds that the first items took longer than later ones; None if none followed them."""
        seconds = self._item_seconds()
        time_of_first, first = self._first
        return None if seconds is None else max(time_of_first - self._began - first * seconds, 0)

    def _item_seconds(self) -> float | None:
        """Returns the seconds of an item, without the first ones, which may wait for a compilation."""
        (began, first), (now, done) = self._first, self._last
        return (now - began) / (done - first) if done > first else None


class Terminal:
    """A stream on which lines stay, and the last line may say what is being done.

    On a screen that line is redrawn; into a pipe, a file or a dumb terminal it goes as a plain line whenever nothing
    else was printed for almost a minute.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic):
        self._stream, self._clock = stream or sys.stdout, clock
        self._is_screen = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._lock = threading.RLock()
        self._doing: list[tuple[float, Activity]] = []  # the innermost last, each with its beginning
        self._spoke = clock()
        self._drawn = ""

    @property
    def columns(self) -> int:
        """The width of the screen now, which may have been resized; of other streams, more than any line needs."""
        if not self._is_screen:
            return sys.maxsize
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or WIDTH
        except (OSError, ValueError):
            return shutil.get_terminal_size().columns

    def say(self, text: str, *, as_is: bool = False) -> None:
        """Prints text that stays; a screen breaks long lines between words unless they are to be printed as they are.

        Tables and commands are printed as they are: a command that is broken could not be copied.
        """
        text = printable(text)
        if self._is_screen and not as_is:
            text = "\n".join(_broken(line, self.columns) for line in text.split("\n"))
        with self._lock:
            self._clear()
            print(text, file=self._stream, flush=True)
            self._spoke = self._clock()

    @contextlib.contextmanager
    def doing(self, activity: AnyActivity) -> Iterator[AnyActivity]:
        """Says what is being done while the block runs, unless an activity within it has something to say."""
        entry = (self._clock(), activity)
        self._doing.append(entry)
        try:
            yield activity
        finally:
            self._doing.remove(entry)
            with self._lock:
                self._clear()

    @contextlib.contextmanager
    def kept_alive(self) -> Iterator[None]:
        """Refreshes the line from a thread while the block runs; `doing` uses this terminal."""
        global _current
        ended = threading.Event()
        thread = threading.Thread(target=self._refresh_until, args=(ended,), daemon=True, name="terminal")
        before, _current = _current, self
        thread.start()
        try:
            yield
        finally:
            _current = before
            ended.set()
            thread.join(1)  # a terminal that is held with Ctrl-S delays no end
            with self._lock:
                self._clear()

    def _refresh_until(self, ended: threading.Event) -> None:
        while not ended.wait(1 / _REDRAWS if self._is_screen else 1):
            self.refresh()

    def refresh(self) -> None:
        """Redraws the line, or prints it if there has been silence for too long."""
        doing, now = self._doing[-1:], self._clock()
        for began, activity in doing:
            if not self._is_screen:
                if now - self._spoke >= _SILENCE:
                    self.say(activity.line(now, None))
            elif now - began >= _PATIENCE:
                width = min(self.columns - _ECHO, WIDTH)
                self._draw(printable(activity.line(now, width))[:width])

    def _draw(self, text: str) -> None:
        with self._lock:
            if text != self._drawn:
                print(_CLEAR + text, end="", file=self._stream, flush=True)
                self._drawn = text

    def _clear(self) -> None:
        if self._drawn:
            print(_CLEAR, end="", file=self._stream, flush=True)
            self._drawn = ""


def _broken(line: str, columns: int) -> str:
    """Breaks a line between words."""
    return textwrap.fill(line, max(columns, 20), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


@contextlib.contextmanager
def silent(on: bool) -> Iterator[None]:
    """Says nothing of what is being done while the block runs, if `on`: another process of the job says it."""
    global _current
    before = _current
    if on:
        _current = Terminal(io.StringIO())
    try:
        yield
    finally:
        _current = before


_current: Terminal | None = None  # the terminal that a command keeps alive


def say(text: str) -> None:
    """Prints text on the command's terminal, or else on standard error."""
    (_current or Terminal(sys.stderr)).say(text)


@contextlib.contextmanager
def doing(what: str, total: int = 0, unit: str = "") -> Iterator[Task]:
    """Says what is being done while the block runs, on the command's terminal, or else on standard error.

    Args:
        what: begins with a capital, such as "Checking images".
        total: items that the block goes through; 0 if there are none, or it is not known how many.
        unit: name of the items, such as "images", if their rate is to be said.
    """
    with contextlib.ExitStack() as stack:
        terminal = _current
        if terminal is None:
            terminal = Terminal(sys.stderr)
            stack.enter_context(terminal.kept_alive())
        yield stack.enter_context(terminal.doing(Task(what, total, unit=unit)))
