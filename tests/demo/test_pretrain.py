"""Pretraining lowers its loss and writes weights that open_clip's own CLIP computes the same with."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from anomalib_zsad.backbone import config as backbone_config
from anomalib_zsad.backbone.weights import weights_version
from anomalib_zsad.data.sample_set import sample_data_folder
from anomalib_zsad.demo import captions
from anomalib_zsad.demo.pretrain import Run, Settings, learning_rate, main, pretrain
from anomalib_zsad.demo.pretraining_pool import draw_pool
from anomalib_zsad.demo.small_clip import CONFIG, VERSION, DemoCLIP

TEXTURES = sample_data_folder() / "textures"
TINY = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 96, "layers": 4, "width": 32, "head_width": 16, "patch_size": 12},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 2},
}


def open_clip_of(config: dict, weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    from open_clip.model import CLIP

    model = CLIP(config["embed_dim"], dict(config["vision_cfg"]), dict(config["text_cfg"])).eval()
    state = {name: value.float() for name, value in weights.items() if not name.startswith("token_embedding.")}
    table = weights["token_embedding.unknown"].float().repeat(config["text_cfg"]["vocab_size"], 1)
    table[weights["token_embedding.rows"].long()] = weights["token_embedding.values"].float()
    missing, unexpected = model.load_state_dict({**state, "token_embedding.weight": table}, strict=False)
    assert set(missing) <= {"attn_mask", "logit_bias"}
    assert not unexpected
    return model


def test_a_few_steps_lower_the_losses() -> None:
    settings = Settings(twins=32, margin=4, window_steps=5, full_steps=70, window=6, batch_size=16, config=TINY)
    pool = draw_pool(settings.twins, 100, seed=3, textures=TEXTURES, workers=1)
    saved: list[int] = []
    run = pretrain(settings, pool, lambda _: saved.append(1))
    model, history = run.model, run.history
    assert len(history) == settings.steps
    assert saved == [1, 1]
    assert not any(np.isnan(list(losses.values())).any() for losses in history)
    for name in ("patch", "layers"):
        early, late = ([past[name] for past in part] for part in (history[5:20], history[-15:]))
        assert np.mean(late) < np.mean(early)
    assert not any(parameter.isnan().any() for parameter in model.parameters())


def test_a_run_that_was_ended_goes_on_as_an_unbroken_one(tmp_path: Path) -> None:
    settings = Settings(twins=24, margin=4, window_steps=2, full_steps=4, window=6, batch_size=8, config=TINY)
    pool = draw_pool(settings.twins, 100, seed=3, textures=TEXTURES, workers=1)
    whole = pretrain(settings, pool)
    first = Run(settings, pool)
    for _ in range(3):
        first.step()
    first.save(tmp_path / "state.pt")
    resumed = pretrain(settings, pool, state=tmp_path / "state.pt")
    assert resumed.history[:3] == first.history
    assert len(resumed.history) == settings.steps
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=0, atol=1e-6)


def test_a_state_of_other_settings_is_refused(tmp_path: Path) -> None:
    settings = Settings(twins=8, margin=4, window_steps=1, full_steps=0, window=6, batch_size=4, config=TINY)
    pool = draw_pool(settings.twins, 100, seed=3, textures=TEXTURES, workers=1)
    pretrain(settings, pool, state=tmp_path / "state.pt")
    with pytest.raises(ValueError, match=r"belongs to a run with .*batch_size=4.* this one has .*batch_size=2.*--outp"):
        pretrain(replace(settings, batch_size=2), pool, state=tmp_path / "state.pt")


def test_a_share_of_the_first_weights_is_kept(tmp_path: Path) -> None:
    first = DemoCLIP(TINY, captions.vocabulary())
    first.save(tmp_path)
    start = tmp_path / "weights.safetensors"
    settings = Settings(
        twins=8, margin=4, window_steps=2, full_steps=0, window=6, batch_size=4, config=TINY, start=start
    )
    pool = draw_pool(settings.twins, 100, seed=3, textures=TEXTURES, workers=1)
    runs = [pretrain(replace(settings, keep_start=share), pool) for share in (0.0, 0.6)]
    for run in runs:
        run.blend_start()
    loaded = DemoCLIP(TINY, captions.vocabulary())
    loaded.load(start)
    before = loaded.state_dict()
    for name, learned in runs[0].model.state_dict().items():
        expected = 0.6 * before[name] + 0.4 * learned if learned.is_floating_point() else learned
        torch.testing.assert_close(runs[1].model.state_dict()[name], expected)
    with pytest.raises(ValueError, match=r"--keep-start needs the weights to keep, --start"):
        Settings(keep_start=0.5)
    with pytest.raises(ValueError, match=r"share of the first weights is in \[0, 1\), not 1"):
        Settings(start=start, keep_start=1.0)


@pytest.mark.slow
def test_the_command_pretrains_from_the_sheets_of_the_repository(tmp_path: Path) -> None:
    words = ["--output", str(tmp_path), "--textures", str(TEXTURES), "--twins", "60", "--workers", "1"]
    steps = ["--window-steps", "2", "--full-steps", "1", "--threads", "1"]
    command = [sys.executable, "-m", "anomalib_zsad.demo.pretrain", *words, *steps]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "drew 60 twins" in ended.stderr
    assert weights_version(tmp_path / "weights.safetensors") == VERSION
    open_clip_of(CONFIG, load_file(tmp_path / "weights.safetensors"))
    # Of a run without steps the average with its own start is that start.
    start = backbone_config.DEMO_FOLDER / "weights.safetensors"
    options = ["--twins", "8", "--window-steps", "0", "--full-steps", "0", "--start", str(start), "--keep-start"]
    command = [sys.executable, "-m", "anomalib_zsad.demo.pretrain", "--textures", str(TEXTURES), "--workers", "1"]
    again = [*command, "--output", str(tmp_path / "again"), *options, "0.5"]
    ended = subprocess.run(again, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr
    written, known = load_file(tmp_path / "again" / "weights.safetensors"), load_file(start)
    torch.testing.assert_close(written["visual.proj"], known["visual.proj"])


def test_a_share_without_weights_to_keep_is_an_error_of_the_command(tmp_path: Path, monkeypatch, capsys) -> None:
    words = ["pretrain", "--output", str(tmp_path), "--textures", str(TEXTURES), "--keep-start", "0.5"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit):
        main()
    assert "--keep-start needs the weights to keep, --start" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_learning_rate_warms_up_and_ends_at_zero() -> None:
    settings = Settings(window_steps=60, full_steps=40)
    rates = [learning_rate(step, settings) for step in range(settings.steps + 1)]
    assert max(rates) == pytest.approx(settings.learning_rate)
    assert rates[0] == pytest.approx(settings.learning_rate / 5)
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_open_clip_computes_what_the_training_module_computes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    ours = DemoCLIP(TINY, captions.vocabulary()).eval()
    ours.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["open_clip_config.json", "weights.safetensors"]
    theirs = open_clip_of(TINY, load_file(tmp_path / "weights.safetensors"))
    prompts = [captions.tokens("a photo of a damaged tile"), captions.tokens("the flawless zebra")]
    padded = torch.zeros(2, 32, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        padded[row, : len(prompt)] = torch.tensor(prompt)
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        text = theirs.encode_text(padded, normalize=True)
        image = theirs.encode_image(images)
        torch.testing.assert_close(ours.encode_text([list(prompt) for prompt in prompts]), text, atol=5e-3, rtol=0)
        torch.testing.assert_close(ours.visual(images).image, image, atol=2e-2, rtol=0)


def test_a_run_can_go_on_from_saved_weights(tmp_path: Path) -> None:
    first = DemoCLIP(TINY, captions.vocabulary()).eval()
    first.save(tmp_path)
    more_words = [*captions.vocabulary(), 7]
    second = DemoCLIP(TINY, more_words).eval()
    second.load(tmp_path / "weights.safetensors")
    prompts = [list(captions.tokens("a photo of a damaged tile")), [*captions.tokens("the flawless zebra")]]
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(second.encode_text(prompts), first.encode_text(prompts), atol=5e-3, rtol=0)
        torch.testing.assert_close(second.visual(images).image, first.visual(images).image, atol=2e-2, rtol=0)
        # A word that the saved weights lack starts as the unknown one.
        torch.testing.assert_close(second.token_rows.weight[second.row_of[7]], second.token_rows.weight[-1])


def test_the_bundled_weights_load_into_open_clip() -> None:
    folder = backbone_config.DEMO_FOLDER
    weights = load_file(folder / "weights.safetensors")
    assert (folder / "weights.safetensors").stat().st_size < 8e6
    assert all(value.dtype in (torch.float16, torch.int32) for value in weights.values())
    model = open_clip_of(CONFIG, weights)
    assert weights_version(folder / "weights.safetensors") == VERSION
    assert sorted(weights["token_embedding.rows"].tolist()) == captions.vocabulary()
    with torch.no_grad():
        features = model.encode_image(torch.zeros(1, 3, 192, 192), normalize=True)
    assert features.shape == (1, CONFIG["embed_dim"])


def test_bundled_text_tower_tells_damaged_from_flawless() -> None:
    model = open_clip_of(CONFIG, load_file(backbone_config.DEMO_FOLDER / "weights.safetensors"))

    def encode(state: str, name: str) -> torch.Tensor:
        prompt = captions.tokens(f"a photo of a {state} {name}")
        padded = torch.zeros(1, 32, dtype=torch.long)
        padded[0, : len(prompt)] = torch.tensor(prompt)
        return F.normalize(model.encode_text(padded), dim=-1)[0]

    with torch.no_grad():
        for name in ("tile", "leather"):
            same = encode("damaged", name) @ encode("defective", name)
            other = encode("damaged", name) @ encode("flawless", name)
            assert same > other + 0.1


def test_every_caption_word_is_in_the_vocabulary_and_foreign_names_are_not() -> None:
    rng, rows = np.random.default_rng(0), set(captions.vocabulary())
    for _ in range(200):
        text = captions.full_caption(rng, "wire mesh", str(rng.choice(list(captions.KIND_NAMES))), "red")
        assert set(captions.tokens(text)) <= rows
    for name in captions.FOREIGN_NAMES:
        assert not set(captions.tokens(name)[1:-1]) <= rows


@pytest.mark.parametrize(
    ("rgb", "name"),
    [((0.05, 0.05, 0.05), "black"), ((0.9, 0.9, 0.88), "white"), ((0.1, 0.2, 0.9), "blue"), ((0.9, 0.05, 0.05), "red")],
)
def test_colours_have_plain_names(rgb: tuple[float, float, float], name: str) -> None:
    assert captions.colour_name(np.array(rgb, dtype=np.float32)) == name
