"""The pages' JavaScript: modules joined to one script, and the pure ones by node's own test runner."""

import shutil
import subprocess
from pathlib import Path

import pytest

from anomalib_zsad.pages.script_bundle import FOLDER, bundle

TESTS = sorted(Path(__file__).with_name("scripts").glob("*.test.mjs"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name.partition(".")[0])
def test_pure_modules_by_node(path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    done = subprocess.run([node, "--test", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def modules(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.js").write_text(text)
    return folder


def test_modules_are_joined_after_what_they_import_and_once(tmp_path: Path) -> None:
    folder = modules(
        tmp_path,
        low="export const LOW = 1;\n",
        left='import { LOW } from "./low.js";\n\nexport function left() {\n  return LOW;\n}\n',
        right='import { LOW } from "./low.js";\nexport const right = LOW;\n',
        top='import {\n  left,\n} from "./left.js";\nimport { right } from "./right.js";\n\nleft(right);\n',
    )
    script = bundle(("top.js",), folder)
    assert script.startswith('"use strict";\n')
    assert "import" not in script
    assert "export" not in script
    order = [script.index(part) for part in ("const LOW", "function left", "const right", "left(right)")]
    assert order == sorted(order)
    assert script.count("const LOW") == 1
    assert bundle((), folder) == ""


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"a": 'import { b } from "./b.js";\nexport const a = 1;\n',
          "b": 'import { a } from "./a.js";\nexport const b = 1;\n'}, "a circle: a.js -> b.js -> a.js"),
        ({"a": 'import { c } from "./b.js";\n', "b": "const c = 1;\n"}, "a.js imports c, which b.js does not export"),
        ({"a": 'import { c } from "./b.js";\nfunction d() {}\n', "b": "export const c = 1;\nfunction d() {}\n"},
         "d is declared by b.js and by a.js"),
        ({"a": 'import c from "./b.js";\n', "b": "export const c = 1;\n"}, "not supported"),
        ({"a": "export default 1;\n"}, "not supported"),
    ],
    ids=["circle", "missing", "twice", "default import", "default export"],
)  # fmt: skip
def test_what_cannot_be_joined_is_an_error(tmp_path: Path, texts: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bundle(("a.js",), modules(tmp_path, **texts))


def test_pure_modules_import_pure_modules_alone() -> None:
    for path in (FOLDER / "pure").glob("*.js"):
        assert 'from "../' not in path.read_text(), path
