"""Rules: the first that fits wins, what none wants is not screened, and what is wrong is said in one line."""

import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from anomalib_zsad.demo.phantom_dicom import write_dicom_series
from anomalib_zsad.node.rules import Match, choose, load_rules, screening_rule
from anomalib_zsad.node.series_facts import SeriesFacts, series_facts

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
HEAD = SeriesFacts("CT", "HEAD without contrast", "HEAD", 30, "axial")


def load(folder: Path, text: str):
    path = folder / "node.yaml"
    path.write_text(text)
    return load_rules(path)


def test_the_example_takes_heads_and_leaves_out_scouts_and_the_rest():
    rules = load_rules(CONFIGS / "node.yaml")
    assert choose(rules, HEAD).name == "head-ct"
    assert choose(rules, SeriesFacts("CT", "Topogram", "HEAD", 2, "sagittal")).skip == "scouts are not screened"
    assert choose(rules, SeriesFacts("CT", "THORAX", "", 300, "axial")).name == "anything-else"


def test_the_example_has_every_key():
    text = (CONFIGS / "node.yaml").read_text()
    with pytest.raises(ValueError, match="known are") as refused:
        screening_rule("any", {"nonsense": 1}, CONFIGS)
    keys = str(refused.value).partition("known are ")[2].split(", ")
    assert {"checkpoint", "engine", "window", "threshold", "select"} < set(keys)
    assert [key for key in [*keys, *Match.__dataclass_fields__] if not re.search(rf"\b{key}\b", text)] == []


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ("{}", True),
        ("{modality: ct}", True),
        ("{modality: MR}", False),
        ("{description: '^head'}", True),
        ("{description: thorax}", False),
        ("{body_part: head}", True),
        ("{minimum_slices: 30, maximum_slices: 30}", True),
        ("{minimum_slices: 31}", False),
        ("{maximum_slices: 29}", False),
        ("{plane: axial}", True),
        ("{plane: coronal}", False),
    ],
)
def test_each_key_asks_for_what_it_says(tmp_path: Path, match: str, fits: bool):
    rules = load(tmp_path, f"rules:\n  - {{name: a, match: {match}, skip: why}}")
    assert (choose(rules, HEAD) is not None) == fits


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: []", "a list of at least one rule"),
        ("[1, 2]", "the file is a mapping"),
        ("rules: [", "is no YAML file"),
        ("rules:\n  - {name: a, skip: b, extra: 1}", "rule 1 has an unknown key 'extra'"),
        ("rules:\n  - {name: a, match: {modalty: CT}, skip: b}", "rule a, match has an unknown key 'modalty'"),
        ("rules:\n  - {name: a, screen: {checkpont: x}}", "rule a, screen has an unknown key 'checkpont'"),
        ("rules:\n  - {name: a, screen: {class_name: brain}}", "no checkpoint is given"),
        ("rules:\n  - {name: a, screen: {checkpoint: none.ckpt}}", "there is no checkpoint"),
        ("rules:\n  - {name: a}", "either `screen`"),
        ("rules:\n  - {name: ../a, skip: b}", "name is a word"),
        ("rules:\n  - {name: a, skip: b}\n  - {name: a, skip: b}", "two rules have the name a"),
        ("rules:\n  - {name: a, match: {description: '('}, skip: b}", "no regular expression"),
        ("rules:\n  - {name: a, match: {plane: oblique}, skip: b}", "plane is one of"),
        ("rules:\n  - {name: a, match: {minimum_slices: ten}, skip: b}", "minimum_slices is a whole number, not 'ten'"),
        ("rules:\n  - {name: a, screen: {allow_untrained: 1}}", "allow_untrained is true or false, not 1"),
        ("rules:\n  - {name: a, screen: {allow_untrained: true, window: wide}}", "unknown window 'wide'"),
        ("rules:\n  - {name: a, screen: {allow_untrained: true, plane: upside}}", "plane is one of"),
        ("rules:\n  - {name: a, screen: {allow_untrained: true, output_types: [pdf2]}}", "pdf2"),
        ("rules:\n  - {name: a, screen: {allow_untrained: true, false_alarm_rate: 0.1}}", "needs a calibration"),
        ("rules:\n  - {name: a, screen: {allow_untrained: true, calibration: gone.json}}", "gone.json"),
        ("rules:\n  - !!python/object/apply:os.system ['true']", "is no YAML file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_that_names_the_file(tmp_path: Path, text: str, said: str):
    with pytest.raises(ValueError, match=r"node\.yaml") as caught:
        load(tmp_path, text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_are_those_of_the_screen_command(tmp_path: Path):
    (rule,) = load(
        tmp_path,
        "rules:\n  - name: a\n    screen: {allow_untrained: true, model: CoPS, class_name: liver, arguments: "
        "{num_samples: 3}, output_types: nifti, window: liver, top_k: 3, threshold: 1, select: [time=1]}",
    )
    assert (rule.model.model, rule.model.class_name, rule.model.arguments) == ("CoPS", "liver", {"num_samples": 3})
    volume = rule.screening.volume
    assert (volume.output_types, volume.window, volume.top_k) == (("nifti",), "liver", 3)
    assert rule.screening.rule.threshold == 1.0
    assert rule.screening.reading.select == ("time=1",)
    assert rule.screening.reading.hash_uids
    assert rule.screening.resume


@pytest.mark.parametrize(
    ("linear", "plane"),
    [
        (np.diag([-1.0, -1.0, 3.0]), "axial"),
        (np.array([[-1.0, 0, 0], [0, 0, 3.0], [0, -1.0, 0]]), "coronal"),
        (np.array([[0, 0, 3.0], [-1.0, 0, 0], [0, -1.0, 0]]), "sagittal"),
    ],
)
def test_facts_of_a_series(tmp_path: Path, linear: np.ndarray, plane: str):
    affine = np.eye(4)
    affine[:3, :3] = linear
    write_dicom_series(tmp_path / "in", np.zeros((8, 8, 4), np.int16), affine)
    files = [f"in/{path.name}" for path in (tmp_path / "in").iterdir()]
    assert series_facts(tmp_path, files) == SeriesFacts("CT", "", "HEAD", 4, plane)


def test_facts_of_an_enhanced_series_count_its_frames(tmp_path: Path):
    write_dicom_series(tmp_path, np.zeros((8, 8, 1), np.int16), np.diag([-1.0, -1.0, 3.0, 1.0]))
    (path,) = tmp_path.iterdir()
    dataset = pydicom.dcmread(path)
    orientation, group = Dataset(), Dataset()
    orientation.ImageOrientationPatient = dataset.ImageOrientationPatient
    del dataset.ImageOrientationPatient
    group.PlaneOrientationSequence = Sequence([orientation])
    dataset.SharedFunctionalGroupsSequence = Sequence([group])
    dataset.NumberOfFrames = 25
    dataset.save_as(path)
    assert series_facts(tmp_path, [path.name]) == SeriesFacts("CT", "", "HEAD", 25, "axial")


def test_a_viewer_whose_library_is_missing_is_told_when_rules_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOMALIB_ZSAD_NIIVUE", str(tmp_path / "none"))
    path = tmp_path / "rules.yaml"
    path.write_text("rules: [{name: heads, match: {}, screen: {allow_untrained: true, viewer: niivue}}]")
    with pytest.raises((ValueError, FileNotFoundError), match=r"npm install --prefix .* @niivue/niivue@"):
        load_rules(path)
