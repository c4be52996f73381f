"""The commands `evaluate` and `weights`."""

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor

from anomalib_zsad.cli import build_parser, main
from anomalib_zsad.data.set_names import AuxiliarySet
from anomalib_zsad.evaluation import subject
from anomalib_zsad.evaluation.evaluate import Subject
from anomalib_zsad.evaluation.subject import build_subject, listed_set
from anomalib_zsad.models import known_weights as registry
from tests.evaluation.evaluation_samples import FakeModel, write_meta, write_tree


def call(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture
def fake_build(
    monkeypatch: pytest.MonkeyPatch, fake_model: FakeModel, identity: Callable[[Tensor], Tensor]
) -> list[dict]:
    """Build the fake model whatever is asked for, and note what was."""
    asked = []

    def build(
        checkpoint: Path | None, method: str, arguments: dict, auxiliary_set: str | None, device: str, *_how: object
    ) -> Subject:
        asked.append({"method": method, "checkpoint": checkpoint, "device": device, **arguments})
        auxiliary = AuxiliarySet(auxiliary_set) if auxiliary_set else None
        return Subject(fake_model, identity, method, checkpoint.name if checkpoint else "", auxiliary)

    monkeypatch.setattr(subject, "build_subject", build)
    return asked


def test_evaluate_writes_tables_for_all_targets(
    fake_build: list[dict], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    tree, meta = write_tree(tmp_path / "parts", ["bolt"]), write_meta(tmp_path / "set", ["brain"], "empty")
    checkpoint = tmp_path / "a.ckpt"
    checkpoint.write_bytes(b"weights")
    status = call(
        "evaluate", "--model", "BayesPFL", "--checkpoint", checkpoint, "--model.backbone", "demo",
        "--model.num_samples", "3", "--class-name", "part", "-i", tree, f"BrainMRI={meta}",
        "--protocol", "deployable", "paper", "--seed", "0", "1", "--output", tmp_path / "out",
        "--auxiliary", "VisA", "--device", "cpu",
    )  # fmt: skip
    assert status == 0
    expected = {"method": "BayesPFL", "checkpoint": checkpoint, "device": "cpu", "backbone": "demo"}
    assert fake_build == [{**expected, "num_samples": 3}]
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(content["results"]) == 2 * 2 * 2
    assert {result["category"]: result["class_names"] for result in content["results"]} == {
        "bolt": ["bolt"],
        "brain": ["brain"],
    }
    assert content["provenance"]["auxiliary set"] == "VisA"
    assert content["provenance"]["checkpoints"] == {"a.ckpt": hashlib.sha256(b"weights").hexdigest()}
    text = (tmp_path / "out" / "results.md").read_text()
    assert "| BrainMRI | brain | deployable | 6 | 100.0 ± 0.0 |" in text
    assert "BrainMRI / brain (deployable): pixel metrics not defined: no masks" in text
    output = capsys.readouterr()
    assert "BrainMRI" in output.out
    assert "results.json, results.csv, results.md" in output.out


def test_evaluate_goes_on_where_it_stopped(
    fake_build: list[dict], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    tree = write_tree(tmp_path / "parts", ["bolt", "nut"])
    arguments = ["evaluate", "--allow-untrained", "--output", tmp_path / "out", "-i", tree]
    assert call(*arguments, "--categories", "bolt") == 0
    assert call(*arguments) == 2
    assert "holds an earlier run; give --resume to go on with it" in capsys.readouterr().err
    assert call(*arguments, "--resume") == 0
    captured = capsys.readouterr()
    assert "nothing left to do" not in captured.out
    errors = captured.err
    assert "parts / bolt (deployable, seed 0): found done" in errors
    assert "parts / nut (deployable, seed 0): 6 images" in errors
    assert "warning: the model is untrained; its scores mean nothing" in errors
    assert errors.index("loading model BayesPFL ...") < errors.index("found done")
    assert call(*arguments, "--resume") == 0
    assert "nothing left to do: an earlier run had evaluated all of it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-i", "nowhere"], "there is no nowhere"),
        (["-i", "{tree}", "{tree}"], "two inputs have the same name"),
        (["-i", "{tree}", "--batch-size", "0"], "the batch size is at least 1"),
        (["-i", "{tree}", "--categories", "nail"], "parts has no category nail"),
        (["-i", "VisA={tree}", "--auxiliary", "VisA"], "the model was trained on 1 of the categories"),
        (["-i", "{tree}", "--checkpoint", "a/x.ckpt", "b/x.ckpt"], "cannot be told apart"),
        (["-i", "x{long}"], "File name too long"),
        (["-i", "{empty}"], "meta.json holds no test images"),
        (["-i", "MVTecAD:{tree}"], "MVTecAD / bottle, from MVTecAD:"),
        (["-i", "FolderTree:{tree}?mask_threshold=x"], "mask_threshold of FolderTreeDataset must be float, and is 'x'"),
        (["-i", "{broken}"], "cannot be read as an image"),
        (["-i", "{broken}", "--num-workers", "1"], "broken / nut, from {broken}: an image cannot be read: "),
    ],
)
def test_evaluate_says_what_is_wrong(
    arguments: list[str], message: str, fake_build: list[dict], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    tree = write_tree(tmp_path / "parts", ["bolt"])
    broken = write_tree(tmp_path / "broken", ["nut"])
    image = broken / "nut" / "test" / "good" / "000.png"
    image.write_bytes(image.read_bytes()[:60])
    (tmp_path / "file").touch()
    empty = tmp_path / "meta.json"
    empty.write_text('{"test": {}}')
    names = {"tree": tree, "broken": broken, "file": tmp_path / "file", "empty": empty, "long": "x" * 300}
    filled = [argument.format(**names) for argument in arguments]
    assert call("evaluate", "--allow-untrained", "--output", tmp_path / "out", *filled) == 2
    error = capsys.readouterr().err
    assert message.format(**names) in error
    assert "Traceback" not in error


def test_an_output_that_cannot_be_written_has_an_exit_code_of_its_own(
    fake_build: list[dict], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    tree = write_tree(tmp_path / "parts", ["bolt"])
    (tmp_path / "file").touch()
    assert call("evaluate", "--allow-untrained", "-i", tree, "-o", tmp_path / "file") == 6
    assert "error: the output cannot be written: " in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_result_is_told_and_can_be_computed_again(
    content: str, fake_build: list[dict], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    tree = write_tree(tmp_path / "parts", ["bolt"])
    arguments = ["evaluate", "--allow-untrained", "--output", tmp_path / "out", "-i", tree]
    assert call(*arguments) == 0
    (stored,) = (tmp_path / "out" / "categories").rglob("*.json")
    stored.write_text(content)
    assert call(*arguments, "--resume") == 2
    assert "is damaged. Give another output folder, or --overwrite" in capsys.readouterr().err
    assert call(*arguments, "--overwrite") == 0


def test_evaluate_says_that_an_unknown_auxiliary_set_hides_overlaps(
    fake_build: list[dict], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    checkpoint = tmp_path / "a.ckpt"
    checkpoint.touch()
    tree = write_tree(tmp_path / "parts", ["bolt"])
    call("evaluate", "--model", "CoPS", "--checkpoint", checkpoint, "--output", tmp_path / "out", "-i", tree)
    assert "an overlap with an input cannot be seen" in capsys.readouterr().err


def test_unknown_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"there is no model 'WinClop'; give .*BayesPFL, CoPS"):
        build_subject(None, "WinClop")


def test_set_is_told_by_the_categories_that_a_checkpoint_names() -> None:
    assert listed_set(["candle", "pcb1"]) == "VisA"
    assert listed_set(["metal_nut"]) == "MVTecAD"
    assert listed_set(["metal_nut", "candle"]) is None


def test_weights_lists_what_is_known_and_says_what_is_not(capsys: pytest.CaptureFixture) -> None:
    assert call("weights") == 0
    text = capsys.readouterr().out
    for name in ("bayes-pfl-visa", "bayes-pfl-mvtec", "cops-visa", "cops-mvtec", "clip-vit-l-14-336"):
        assert name in text
    assert text.count("sha256:       unknown") == 2
    assert call("weights", "--json") == 0
    known = json.loads(capsys.readouterr().out)
    assert all(entry["sha256"] is None or len(entry["sha256"]) == 64 for entry in known)


_KILLED = """
import os, signal, sys
from pathlib import Path
from anomalib_zsad.cli import main

def die(self, target):
    if Path(target).parent.name == "parts":  # where the result of a category lies
        os.kill(os.getpid(), signal.SIGKILL)
    os.replace(self, target)

Path.replace = die
main(sys.argv[1:])
"""


def test_a_killed_evaluation_leaves_nothing_half_once_it_is_resumed(tmp_path: Path) -> None:
    tree, out = write_tree(tmp_path / "parts", ["bolt"]), tmp_path / "out"
    arguments = ["evaluate", "--model", "CoPS", "--model.backbone", "demo", "--allow-untrained", "-i", tree, "-o", out]
    killed = subprocess.run([sys.executable, "-c", _KILLED, *map(str, arguments)], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path for path in out.rglob(".partial-*") if path.is_file()]
    assert call(*arguments, "--resume") == 0
    assert not list(out.rglob(".partial-*"))
    assert "A demonstration, not a product" in (out / "results.md").read_text()


def test_weights_are_identified_by_checksum_and_presumed_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    renamed = tmp_path / "renamed.pth"
    renamed.write_bytes(b"x")
    cops = registry.KNOWN_WEIGHTS[2]
    known = registry.KnownWeights(**{**vars(cops), "sha256": hashlib.sha256(b"x").hexdigest()})
    monkeypatch.setattr(registry, "KNOWN_WEIGHTS", (known, registry.KNOWN_WEIGHTS[0]))
    assert call("weights", "--identify", renamed) == 0
    assert "is cops-visa, trained on VisA (its checksum says so)" in capsys.readouterr().out
    named = tmp_path / "train_visa.pth"
    named.touch()
    assert call("weights", "--identify", named) == 0
    assert "presumed from its name" in capsys.readouterr().out
    wrong = tmp_path / "epoch_10.pth"  # the name of CoPS's file, and not its content
    wrong.touch()
    assert call("weights", "--identify", wrong) == 3
    assert call("weights", "--identify", tmp_path / "none") == 2


def test_commands_of_the_reproduction_guide_are_understood() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reproduce.md").read_text()
    blocks = [block for block in text.split("```")[1::2] if block.strip().startswith("anomalib-zsad evaluate")]
    assert len(blocks) == 4
    for block in blocks:
        args = build_parser("evaluate").parse_args(block.replace("\\\n", " ").split()[1:])
        assert args.protocols == ["paper"]
        assert all("datasets/" in target for target in args.input)


def test_a_reader_that_goes_away_ends_the_command_quietly() -> None:
    program = "import sys; from anomalib_zsad.cli import main; sys.exit(main(['weights']))"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()  # as `head` does
    assert "Traceback" not in process.stderr.read().decode()
    assert process.wait() == 141
