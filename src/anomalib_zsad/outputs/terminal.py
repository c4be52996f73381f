"""What is printed on a terminal, where names and headers of others must not act."""

import sys
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDTH_WITHOUT_TERMINAL = 200


def visible(text: str) -> str:
    """The text with control characters and marks of writing direction spelled out: nothing in it acts on a terminal."""
    return "".join(
        character
        if character == "\n" or unicodedata.category(character) not in ("Cc", "Cf", "Co", "Cs")
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


def counted(number: int, thing: str) -> str:
    """`1 image`, `1,200 images`: a number with what is counted, whose plural takes an s."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def console(*, stderr: bool = False) -> "Console":
    """Where tables are printed: as wide as the terminal, and wide enough for files and pipes."""
    from rich.console import Console

    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, width=None if terminal else _WIDTH_WITHOUT_TERMINAL)


def plain_table(*headings: str, whole: Iterable[str] = (), numbers: Iterable[str] = (), title: str = "") -> "Table":
    """A table of which nothing is cut off: what does not fit goes on in the next line.

    Args:
        headings: Of the columns.
        whole: Those whose words are not parted while there is room at all, such as pseudonyms.
        numbers: Those that hold numbers: whole, and set to the right.
        title: Above the table.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    above = Text(title) if title else None
    table = Table(title=above, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    right, together = set(numbers), {*whole, *numbers}
    for heading in headings:
        justify = "right" if heading in right else "left"
        table.add_column(heading, justify=justify, no_wrap=heading in together, overflow="fold")  # type: ignore[arg-type]
    return table
