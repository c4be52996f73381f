"""Answers over HTTP that are larger than allowed, or that end before their end."""

import re
from collections.abc import Iterator
from typing import Any


class ResponseTooLargeError(Exception):
    """An answer holds more bytes than allowed."""


class TruncatedResponseError(Exception):
    """A message of several parts has no end."""


class ResponseGuard:
    """Counts the bytes of every answer of a `requests` session, as its hook for responses."""

    def __init__(self) -> None:
        self._most = 0

    def limit(self, most: int) -> None:
        """Allow so many bytes for each answer from here on."""
        self._most = most

    def watch(self, response: Any, *_: Any, **__: Any) -> Any:
        """Take a response whose content is not read yet; whatever reads it raises what this class's module names."""
        read, most = response.iter_content, self._most
        boundary = _boundary(response.headers.get("Content-Type", "")) if response.ok else b""

        def guarded(chunk_size: int = 1, decode_unicode: bool = False) -> Iterator[Any]:
            size, tail = 0, b""
            for chunk in read(chunk_size, decode_unicode):
                size += len(chunk)
                if size > most:
                    response.close()
                    raise ResponseTooLargeError
                if boundary:
                    tail = (tail + chunk)[-len(boundary) - 1024 :]
                yield chunk
            # A connection that is closed early looks like an end where the length was not announced.
            if boundary and boundary not in tail:
                raise TruncatedResponseError

        response.iter_content = guarded
        return response


def _boundary(content_type: str) -> bytes:
    """What a message of several parts ends with; empty for other messages."""
    found = re.search(r"boundary=\"?([^\";]+)", content_type) if content_type.lower().startswith("multipart/") else None
    return b"--" + found[1].strip().encode() + b"--" if found else b""
