"""CLIP's byte-pair encoding, by the vocabulary file that open_clip brings.

open_clip has a tokenizer of the same answers. Importing it imports all of open_clip, with torchvision and timm, and
takes longer than everything else before a first answer.
"""

import gzip
import html
from functools import cache
from itertools import pairwise
from pathlib import Path

import regex

from .open_clip_files import open_clip_file

_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
# Merges that CLIP uses of the file, whose first line is a heading: its vocabulary less bytes and special tokens.
_MERGES = 49_152 - 256 - 2
_START, _END = "<start_of_text>", "<end_of_text>"
_END_OF_WORD = "</w>"
_WORDS = regex.compile(
    rf"{_START}|{_END}|'s|'t|'re|'ve|'m|'ll|'d|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+", regex.IGNORECASE
)


class Tokenizer:
    """Turns text into CLIP's ids."""

    def __init__(self) -> None:
        lines = gzip.decompress(_vocabulary_file().read_bytes()).decode("utf-8").split("\n")
        # A merge is a line of the file, two symbols with a space between: taking 49,000 apart would take a while.
        merges = lines[1 : _MERGES + 1]
        self._ranks = dict(zip(merges, range(_MERGES), strict=True))
        self._symbols = _symbols_of_bytes()
        symbols = list(self._symbols.values())
        joined = [merge.replace(" ", "") for merge in merges]
        words = [*symbols, *(symbol + _END_OF_WORD for symbol in symbols), *joined, _START, _END]
        self._ids = dict(zip(words, range(len(words)), strict=True))

    @property
    def start_and_end(self) -> tuple[int, int]:
        """Ids of SOS and EOT."""
        return self._ids[_START], self._ids[_END]

    def encode(self, text: str) -> list[int]:
        """Ids of a text, in lower case and with white space joined, without SOS and EOT."""
        clean = " ".join(_repaired(text).split()).lower()
        ids: list[int] = []
        for word in _WORDS.findall(clean):
            if word in (_START, _END):
                ids.append(self._ids[word])
            else:
                ids += [self._ids[part] for part in self._parts("".join(self._symbols[b] for b in word.encode()))]
        return ids

    def _parts(self, word: str) -> list[str]:
        """A word's symbols, neighbours joined by the merge that was learned first, for as long as there is one."""
        parts = [*word[:-1], word[-1] + _END_OF_WORD]
        while len(parts) > 1:
            best = min(pairwise(parts), key=self._rank)
            if self._rank(best) == _MERGES:
                break
            parts = _joined(parts, best)
        return parts

    def _rank(self, pair: tuple[str, str]) -> int:
        """When a merge was learned; after all of them for a pair that never was."""
        return self._ranks.get(" ".join(pair), _MERGES)


def _repaired(text: str) -> str:
    """The text with wrong encodings and HTML's entities undone, as CLIP had it before its words were counted."""
    if text.isascii() and text.isprintable() and "&" not in text:
        return text  # nothing to undo, and no need to import what would
    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text)))


def _joined(parts: list[str], pair: tuple[str, str]) -> list[str]:
    """The parts with every occurrence of a pair of neighbours as one, from the left."""
    made: list[str] = []
    position = 0
    while position < len(parts):
        if tuple(parts[position : position + 2]) == pair:
            made.append("".join(pair))
            position += 2
        else:
            made.append(parts[position])
            position += 1
    return made


@cache
def _symbols_of_bytes() -> dict[int, str]:
    """A character for each byte: itself where it can be seen, else one from behind the first 256."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in set(seen)]
    return {byte: chr(byte) for byte in seen} | {byte: chr(256 + place) for place, byte in enumerate(hidden)}


def _vocabulary_file() -> Path:
    """The vocabulary in open_clip's folder, which is found without importing it.

    Raises:
        FileNotFoundError: If open_clip is not installed, or has no such file any more.
    """
    found = open_clip_file(_VOCABULARY)
    if found is None:
        raise FileNotFoundError(
            f"open_clip's vocabulary {_VOCABULARY} is missing; reinstall the package open_clip_torch"
        )
    return found
