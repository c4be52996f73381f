"""What docs/upstream.md says of anomalib is still so; a test that fails here says that upstream mended something."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "upstream.md"
RUNNER = """
import json, sys
said = {}
for title, code in json.loads(sys.stdin.read()).items():
    space = {"__name__": "reproduction"}
    exec(compile(code, title, "exec"), space)
    said[title] = space["mended"]
print("said " + json.dumps(said))
"""


def reproductions() -> dict[str, str]:
    """Title and code of every proposal."""
    sections = PAGE.read_text().split("\n## ")[1:]
    return {text.partition("\n")[0]: text.split("```python\n")[1].partition("```")[0] for text in sections}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bool]:
    """What each reproduction says, in a process of its own: they leave classes and packages behind."""
    command = [sys.executable, "-c", RUNNER]
    temporary = str(tmp_path_factory.mktemp("reproductions"))
    done = subprocess.run(
        command,
        input=json.dumps(reproductions()),
        capture_output=True,
        text=True,
        check=False,
        cwd=temporary,
        env={**os.environ, "TMPDIR": temporary},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("said "))
    return json.loads(line.removeprefix("said "))


@pytest.mark.parametrize("title", reproductions())
def test_upstream_is_as_it_was(said: dict[str, bool], title: str) -> None:
    assert not said[title], f"anomalib mended {title!r}: take our way round it out, and the section of docs/upstream.md"


def test_the_four_proposals_are_there() -> None:
    assert len(reproductions()) == 4
