"""A view on a terminal: colours, a bar of the steps, redrawn in place; the lines themselves are `status_view`'s."""

from collections.abc import Iterator
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .status_view import StatusView

_WIDTH = 40
_COLOURS = {"Running": "green", "Succeeded": "green", "Failed": "red", "Restarting": "yellow", "Stalled": "red"}


def show(views: Iterator[StatusView], stream: TextIO) -> None:
    """Draw views until there are no more; the last one stays on the screen."""
    console = Console(file=stream)
    # auto_refresh False: no thread; nothing moves between two looks.
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        for view in views:
            live.update(drawn(view), refresh=True)


def drawn(view: StatusView) -> RenderableType:
    """Title, bar, lines; words of a job are never taken for markup."""
    title = Text(view.title, style="bold")
    for word, colour in _COLOURS.items():
        title.highlight_words([f"  {word}  "], colour)
    bar = Table.grid(padding=(0, 1))
    bar.add_row(ProgressBar(total=view.total, completed=view.done, width=_WIDTH), Text(view.steps.split(None, 1)[1]))
    return Group(title, bar if view.total else Text(f"  {view.steps}"), *(Text(line) for line in view.body))


def draw(texts: Iterator[str], stream: TextIO) -> None:
    """Draw texts in place of each other until there are no more; the last one stays."""
    console = Console(file=stream)
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        for text in texts:
            live.update(coloured(text), refresh=True)


def coloured(text: str) -> Text:
    """Return the text with the phases in colour, its first line bold; words of a job are never taken for markup."""
    first, newline, rest = text.rstrip("\n").partition("\n")
    drawn_text = Text(first, style="bold", no_wrap=True)
    drawn_text.append(Text(f"{newline}{rest}", style="not bold"))
    for word, colour in _COLOURS.items():
        drawn_text.highlight_regex(rf"(?<![\w-]){word}(?![\w-])", f"not bold {colour}")
    return drawn_text
