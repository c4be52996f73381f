"""What is printed on a terminal, where names and headers of others must not act."""

import sys
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH_WITHOUT_TERMINAL = 200


def visible(text: str) -> str:
    """The text with control characters and marks of writing direction spelled out: nothing in it acts on a terminal."""
    return "".join(
        character
        if character == "\n" or unicodedata.category(character) not in ("Cc", "Cf", "Co", "Cs")
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


def console(*, stderr: bool = False) -> "Console":
    """Where tables are printed: as wide as the terminal, and wide enough for files and pipes."""
    from rich.console import Console

    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, width=None if terminal else _WIDTH_WITHOUT_TERMINAL)
