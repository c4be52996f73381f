"""A station on a line: answers for pictures as they come, from a folder or over HTTP, until it is stopped."""
