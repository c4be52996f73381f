"""A hook of mkdocs: links from a page to a file of the repository that is no page go to the repository's file.

In the repository such links are relative (`../configs/node.yaml`), and stay so. Here they are checked, and the site
gets a copy of the file beside its pages, so that it is whole without a network.
"""

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

logger = logging.getLogger("mkdocs.hooks.site_links")
_LINK = re.compile(r"(\]\()(\.\./[^)#\s]+)(#[^)\s]*)?\)")
_COPIES = "repository"
_linked: dict[str, Path] = {}


def on_files(files: Any, config: Any) -> Any:
    """Add every file of the repository that a page links to."""
    root = Path(config["docs_dir"]).parent
    for page in list(files.documentation_pages()):
        for match in _LINK.finditer(Path(page.abs_src_path).read_text(encoding="utf-8")):
            name = _below_root(page.src_uri, match[2])
            if name is None or name in _linked:
                continue
            if not (root / name).is_file():
                logger.warning("%s links to %s, which is not there", page.src_uri, match[2])
                continue
            _linked[name] = root / name
            files.append(File.generated(config, f"{_COPIES}/{name}.txt", content=(root / name).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_others: Any) -> str:
    """Lead such links to the copies."""

    def replaced(match: re.Match[str]) -> str:
        name = _below_root(page.file.src_uri, match[2])
        if name is None:
            return match[0]
        up = "../" * page.file.src_uri.count("/")
        return f"{match[1]}{up}{_COPIES}/{name}.txt)"

    return _LINK.sub(replaced, markdown)


def _below_root(page: str, link: str) -> str | None:
    """The file's path below the repository's root; `None` where the link stays within docs."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    return None if path.startswith("docs/") else path
