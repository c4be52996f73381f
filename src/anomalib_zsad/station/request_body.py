"""The picture in the body of a request: the body itself, or the one file of a form (RFC 7578), whatever its name."""

import re
from collections.abc import Iterator
from email.message import Message

_LARGEST_HEADER = 16 << 10
# A form of a picture has a few parts; of an empty one there is room for millions in a request.
_MOST_PARTS = 100
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046


class BodyError(ValueError):
    """The body of a request holds no picture, or several."""


def picture_in(body: bytes | bytearray, content_type: str) -> memoryview:
    """The file of a picture, as it was sent: a view of the body, which may be large.

    Args:
        body: The whole body.
        content_type: The request's header; what is no form is the picture itself.

    Raises:
        BodyError: If there is none, or it is not the only one.
    """
    message = Message()
    message["Content-Type"] = content_type or "application/octet-stream"
    kind = message.get_content_type()
    # Curl names this type for whatever --data-binary sends; a form of text fields is ASCII, as few pictures are.
    if kind == "application/x-www-form-urlencoded" and body.isascii():
        raise BodyError("a form of text fields holds no picture: send it as multipart/form-data, or as the body itself")
    if kind != "multipart/form-data":
        if not body:
            raise BodyError("the body is empty: send a picture, as it is or as the file of a form")
        return memoryview(body)
    boundary = str(message.get_param("boundary", ""))
    if not _BOUNDARY.fullmatch(boundary):
        raise BodyError("the form has no usable boundary")
    files = []
    for count, (is_file, start, end) in enumerate(_parts(body, boundary.encode()), 1):
        if count > _MOST_PARTS:
            raise BodyError(f"a form has at most {_MOST_PARTS} parts: send the picture as its only file")
        if is_file and end > start:
            files.append((start, end))
    if len(files) != 1:
        raise BodyError(f"a request holds one picture, and this form holds {len(files)} files")
    (start, end), *_ = files
    return memoryview(body)[start:end]


def _parts(body: bytes | bytearray, boundary: bytes) -> Iterator[tuple[bool, int, int]]:
    """Of each part, whether it is a file, and where its content begins and ends.

    Raises:
        BodyError: If the form is not whole.
    """
    mark = b"--" + boundary
    start = 0 if body.startswith(mark) else body.find(b"\r\n" + mark) + 2
    if start == 1:
        raise BodyError("the form does not hold its own boundary")
    while True:
        start += len(mark)
        if body.startswith(b"--", start):
            return
        begin = body.find(b"\r\n", start)
        headers_end = body.find(b"\r\n\r\n", begin, begin + _LARGEST_HEADER) if begin >= 0 else -1
        end = body.find(b"\r\n" + mark, headers_end + 2) if headers_end >= 0 else -1
        if end < 0:
            raise BodyError("the form is cut off")
        # A part without a content: its end is the end of its headers.
        yield _is_file(bytes(body[begin:headers_end])), headers_end + 4, end
        start = end + 2


def _is_file(headers: bytes) -> bool:
    for line in headers.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            return b"filename=" in value.lower() or b"filename*=" in value.lower()
    return False
