"""The picture in the body of a request: the body itself, or the one file of a form (RFC 7578), whatever its name."""

import re
from email.message import Message

_LARGEST_HEADER = 16 << 10
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046


class BodyError(ValueError):
    """The body of a request holds no picture, or several."""


def picture_in(body: bytes, content_type: str) -> bytes:
    """The file of a picture, as it was sent.

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
        return body
    boundary = str(message.get_param("boundary", ""))
    if not _BOUNDARY.fullmatch(boundary):
        raise BodyError("the form has no usable boundary")
    files = [content for name_of_file, content in _parts(body, boundary.encode()) if name_of_file]
    if len(files) != 1 or not files[0]:
        raise BodyError(f"a request holds one picture, and this form holds {len([one for one in files if one])} files")
    return files[0]


def _parts(body: bytes, boundary: bytes) -> list[tuple[bool, bytes]]:
    """Of each part, whether it is a file, and its content.

    Raises:
        BodyError: If the form is not whole.
    """
    mark = b"--" + boundary
    start = 0 if body.startswith(mark) else body.find(b"\r\n" + mark) + 2
    if start == 1:
        raise BodyError("the form does not hold its own boundary")
    found: list[tuple[bool, bytes]] = []
    while True:
        start += len(mark)
        if body.startswith(b"--", start):
            return found
        begin = body.find(b"\r\n", start)
        headers_end = body.find(b"\r\n\r\n", begin, begin + _LARGEST_HEADER) if begin >= 0 else -1
        end = body.find(b"\r\n" + mark, headers_end + 2) if headers_end >= 0 else -1
        if end < 0:
            raise BodyError("the form is cut off")
        # A part without a content: its end is the end of its headers.
        found.append((_is_file(body[begin:headers_end]), body[headers_end + 4 : end]))
        start = end + 2


def _is_file(headers: bytes) -> bool:
    for line in headers.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            return b"filename=" in value.lower() or b"filename*=" in value.lower()
    return False
