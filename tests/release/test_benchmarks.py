"""The programs that `make bench` runs, and the table that it makes of their rows."""

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmarks_run", FOLDER / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_programs_are_there_and_take_the_arguments_that_they_are_given(runner: ModuleType) -> None:
    for name, arguments in (runner.TABLE | runner.PARTS).items():
        strings = {
            node.value
            for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert {word for word in arguments if word.startswith("--")} <= strings, name


def test_rows_become_a_table_that_a_run_cut_off_leaves_behind(
    runner: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runner, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["run.py", "bench_int8", "bench_tiles"])
    details = {"seconds": {"float32": 2.0, "int8": 1.0}, "report": {"versions": {"nncf": "3"}}, "cpu_seconds": 3.5}
    row = {"row": "int8", "measured": 0.5, "unit": "of float32's time", "must": "0.55", "aim": "", "details": details}

    def ended_in_the_second(name: str, *_: str) -> tuple[list[dict[str, object]], str, int]:
        if name == "bench_tiles":
            raise KeyboardInterrupt
        return [row], "", 0

    monkeypatch.setattr(runner, "run", ended_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        runner.main()
    table = (tmp_path / "benchmarks.md").read_text()
    told = "seconds float32 2, seconds int8 1, cpu seconds 3.5"
    assert f"| int8 | 0.5 | of float32's time | 0.55 |  | {told} |" in table
    assert f"Python {sys.version_info.major}." in table
    assert len((tmp_path / "benchmarks.jsonl").read_text().splitlines()) == 1
