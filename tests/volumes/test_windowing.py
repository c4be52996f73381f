"""Grey levels: hand-picked Hounsfield units, and percentiles of the foreground."""

import numpy as np
import pytest

from anomalib_zsad.volumes.options import CT_PRESETS, check_window
from anomalib_zsad.volumes.volume import SliceSource, Units, Volume
from anomalib_zsad.volumes.windowing import choose_window, percentile_window, sample_voxels


def make_volume(voxels: np.ndarray, units: Units = Units.ARBITRARY, modality: str = "", body_part: str = "") -> Volume:
    voxels = np.asfortranarray(voxels, np.float32)
    sources = tuple(SliceSource("", None, None) for _ in range(voxels.shape[2]))
    return Volume(voxels, np.eye(4), modality, units, 2, sources, body_part=body_part)


def head(noise: float = 4.0) -> np.ndarray:
    """A bright ball in dark, noisy air."""
    index = np.indices((40, 40, 20)) - np.array([20, 20, 10])[:, None, None, None]
    ball = (index**2).sum(0) < 100
    random = np.random.default_rng(0)
    return np.where(
        ball, 500 + 50 * random.standard_normal(ball.shape), np.abs(noise * random.standard_normal(ball.shape))
    )


# Air, fat, water, brain, blood, bone in HU, and what each preset shows.
HU = np.array([-1000, -100, 0, 40, 70, 1000], np.float32)


@pytest.mark.parametrize(
    ("preset", "grey"),
    [
        ("brain", [0, 0, 0, 0.5, 0.875, 1]),  # 0 to 80
        ("subdural", [0, 0, 0.125, 0.325, 0.475, 1]),  # -25 to 175
        ("liver", [0, 0, 0.3, 0.5667, 0.7667, 1]),  # -45 to 105
        ("lung", [0.2333, 0.8333, 0.9, 0.9267, 0.9467, 1]),  # -1350 to 150
        ("bone", [0, 0.3, 0.35, 0.37, 0.385, 0.85]),  # -700 to 1300
        ("mediastinum", [0, 0.0714, 0.3571, 0.4714, 0.5571, 1]),  # -125 to 225
    ],
)
def test_presets_show_what_radiologists_expect(preset: str, grey: list[float]) -> None:
    window, findings = choose_window(make_volume(HU.reshape(6, 1, 1), Units.HOUNSFIELD, "CT"), preset)
    np.testing.assert_allclose(window.apply(HU), grey, atol=1e-4)
    assert (window.width, window.level) == CT_PRESETS[preset]
    assert findings == []


def test_auto_takes_the_body_part_or_says_that_it_guessed() -> None:
    voxels = HU.reshape(6, 1, 1)
    window, findings = choose_window(make_volume(voxels, Units.HOUNSFIELD, "CT", "HEAD"))
    assert (window.name, findings) == ("brain", [])
    window, findings = choose_window(make_volume(voxels, Units.HOUNSFIELD, "CT", "FOOT"))
    assert window.name == "mediastinum"
    assert "give --window" in findings[0].message
    window, findings = choose_window(make_volume(head(), modality="MR"))
    assert (window.name, findings) == ("percentile", [])
    window, findings = choose_window(make_volume(head()))
    assert "modality unknown" in findings[0].message
    _, findings = choose_window(make_volume(head(), modality="MR"), "brain")
    assert "not known to be Hounsfield" in findings[0].message


def test_custom_window() -> None:
    window, _ = choose_window(make_volume(HU.reshape(6, 1, 1), Units.HOUNSFIELD, "CT"), "200/-50")
    assert (window.lower, window.upper, window.name) == (-150, 50, "custom")
    assert window.as_dict()["origin"] == "given by the user"


@pytest.mark.parametrize("bad", ["Brain", "0/40", "-80/40", "80", "80/forty", ""])
def test_unknown_windows_are_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="unknown window"):
        check_window(bad)


@pytest.mark.parametrize("noise", [0.0, 4.0])
def test_percentiles_are_those_of_the_foreground(noise: float) -> None:
    voxels = head(noise)
    window = percentile_window(voxels.astype(np.float32))
    lower, upper = np.percentile(voxels[voxels > 100], (0.5, 99.5))
    assert window.lower == pytest.approx(lower, rel=0.03)
    assert window.upper == pytest.approx(upper, rel=0.01)


def test_14_padding_and_nan_do_not_shift_percentiles() -> None:
    voxels = head().astype(np.float32)
    padded = voxels.copy()
    padded[:, :, 0] = np.nan
    before, after = percentile_window(voxels), percentile_window(padded)
    assert after.lower == pytest.approx(before.lower, rel=0.02)
    assert after.upper == pytest.approx(before.upper, rel=0.01)
    assert (before.apply(padded)[:, :, 0] == 0).all()


def test_30_constant_and_empty_volumes_have_a_window() -> None:
    for voxels in (np.full((3, 3, 3), 7.0), np.full((3, 3, 3), np.nan)):
        window = percentile_window(voxels.astype(np.float32))
        assert np.isfinite(window.apply(voxels.astype(np.float32))).all()
    two_values = np.zeros((10, 10, 10), np.float32)
    two_values[:2] = 1
    assert percentile_window(two_values).apply(two_values).max() == 1


def test_large_volumes_are_sampled_evenly() -> None:
    voxels = np.asfortranarray(np.random.default_rng(0).normal(size=(256, 256, 160)).astype(np.float32))
    sample = sample_voxels(voxels)
    assert 3_000_000 < len(sample) < 8_100_000
    assert np.percentile(sample, 99.5) == pytest.approx(np.percentile(voxels, 99.5), abs=0.01)
