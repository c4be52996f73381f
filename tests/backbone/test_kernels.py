"""The CPU's kernels answer what torch's plain operations answer, and stand aside where they must."""

import copy

import pytest
import torch
import torch.nn.functional as F

from anomalib_zsad.backbone import kernels
from anomalib_zsad.backbone.config import BackboneConfig, TowerConfig, load_config
from anomalib_zsad.backbone.transformer import FrozenBlock, FrozenLinear, quick_gelu
from anomalib_zsad.backbone.vision import VisionTower
from anomalib_zsad.backbone.weights import random_weights

needs_onednn = pytest.mark.skipif(not kernels._AVAILABLE, reason="torch was built without oneDNN")
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 4e-2}


@pytest.fixture(autouse=True)
def _on_any_processor(monkeypatch) -> None:
    """These kernels are right where they are slow, too."""
    monkeypatch.setattr(kernels, "_FAST_FLOAT32", kernels._AVAILABLE)


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def dtype(request) -> torch.dtype:
    if request.param is torch.bfloat16 and not kernels.usable(torch.zeros(1, dtype=torch.bfloat16)):
        pytest.skip("this processor has no bfloat16 arithmetic")
    return request.param


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layer(dtype: torch.dtype = torch.float32) -> FrozenLinear:
    return FrozenLinear(draw(96, 64, seed=1) / 8, draw(96, seed=2)).to(dtype)


@needs_onednn
@pytest.mark.parametrize("activation", ["none", "gelu", "silu"])
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_a_linear_layer_equals_torch(dtype, activation, rows) -> None:
    linear, x = layer(dtype), draw(2, rows, 64, seed=3).to(dtype)
    plain = F.linear(x.float(), linear.weight.float(), linear.bias.float())
    expected = {"none": plain, "gelu": F.gelu(plain), "silu": F.silu(plain)}[activation]
    for _ in range(2):  # the second time from the layout that was kept
        torch.testing.assert_close(
            linear(x, activation).float(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype]
        )


@needs_onednn
def test_residuals_strides_and_parts(dtype) -> None:
    linear = layer(dtype)
    x = draw(5, 3, 128, seed=3).to(dtype)[:, :, ::2]
    residual = draw(96, 3, 5, seed=4).to(dtype).permute(2, 1, 0)
    plain = F.linear(x.float(), linear.weight.float(), linear.bias.float())
    close = {"atol": TOLERANCE[dtype], "rtol": TOLERANCE[dtype]}
    torch.testing.assert_close(linear(x, residual=residual).float(), plain + residual.float(), **close)
    torch.testing.assert_close(linear.part(x, slice(32, 64)).float(), plain[..., 32:64], **close)


@needs_onednn
def test_gradients_of_the_input_equal_torchs_and_the_weights_have_none() -> None:
    linear, x = layer(), draw(2, 9, 64, seed=3).requires_grad_()
    residual = draw(2, 9, 96, seed=4).requires_grad_()
    outer = draw(2, 9, 96, seed=5)
    ours = torch.autograd.grad((linear(x, residual=residual) * outer).sum(), (x, residual))
    plain = torch.autograd.grad(((residual + F.linear(x, linear.weight, linear.bias)) * outer).sum(), (x, residual))
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-5)
    assert not any(buffer.requires_grad for buffer in linear.buffers())


@needs_onednn
@pytest.mark.parametrize("tile", [1 << 22, 4000])
def test_attention_equals_torchs(dtype, monkeypatch, tile) -> None:
    monkeypatch.setattr(kernels, "_TILE_BYTES", tile)
    joined = draw(2, 201, 3 * 4 * 16, seed=6).to(dtype)
    queries, keys, values = (part.unflatten(-1, (4, 16)).transpose(1, 2) for part in joined.chunk(3, dim=-1))
    expected = F.scaled_dot_product_attention(queries.float(), keys.float(), values.float())
    answer = kernels.attention(queries, keys, values)
    close = {"atol": TOLERANCE[dtype], "rtol": TOLERANCE[dtype]}
    torch.testing.assert_close(answer.float(), expected.transpose(1, 2).flatten(-2), **close)


def test_attention_of_large_scores_does_not_overflow() -> None:
    queries = 200 * draw(1, 2, 200, 16, seed=7)
    answer = kernels.attention(queries, queries, draw(1, 2, 200, 16, seed=8))
    assert torch.isfinite(answer).all()


def small_tower(side: int) -> tuple[VisionTower, BackboneConfig]:
    config = load_config("demo")
    return VisionTower(random_weights(config), config, side, "gelu", "bilinear"), config


@pytest.mark.parametrize("value_path", [False, True])
def test_the_vision_tower_answers_the_same_without_these_kernels(monkeypatch, value_path) -> None:
    tower, config = small_tower(240)  # 401 tokens: attention goes head by head
    images = draw(3, 3, 240, 240)
    layers = (2, config.vision.layers)
    with torch.no_grad():
        ours = tower(images, layers, value_path)
        monkeypatch.setattr(kernels, "_FAST_FLOAT32", False)
        plain = tower(images, layers, value_path)
    torch.testing.assert_close(ours.class_token, plain.class_token, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.patches, plain.patches, atol=1e-4, rtol=1e-4)
    if value_path:
        torch.testing.assert_close(ours.value_patches, plain.value_patches, atol=1e-4, rtol=1e-4)


def test_images_in_groups_equal_images_at_once(monkeypatch) -> None:
    tower, _ = small_tower(48)
    images = draw(5, 3, 48, 48)
    at_once = tower(images, (1,), value_path=True)
    monkeypatch.setattr("anomalib_zsad.backbone.vision._CACHED_TOKENS", 2 * tower.positions.shape[0])
    grouped = tower(images, (1,), value_path=True)
    torch.testing.assert_close(grouped, at_once, atol=1e-5, rtol=1e-5)


def test_the_scale_of_quick_gelu_goes_into_the_weights() -> None:
    config = TowerConfig(width=32, layers=1, heads=2, mlp_width=64)
    weights = random_weights_of_a_block(config)
    block = FrozenBlock({name: value.clone() for name, value in weights.items()}, "b", config, "quick_gelu")
    x = draw(2, 5, 32, seed=9)
    normed = F.layer_norm(x, (32,), weights["b.ln_2.weight"], weights["b.ln_2.bias"])
    hidden = quick_gelu(F.linear(normed, weights["b.mlp.c_fc.weight"], weights["b.mlp.c_fc.bias"]))
    expected = x + F.linear(hidden, weights["b.mlp.c_proj.weight"], weights["b.mlp.c_proj.bias"])
    torch.testing.assert_close(block.add_mlp(x), expected, atol=1e-5, rtol=1e-5)


def random_weights_of_a_block(config: TowerConfig) -> dict[str, torch.Tensor]:
    width, hidden = config.width, config.mlp_width
    shapes = {
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        "attn.out_proj.weight": (width, width),
        "attn.out_proj.bias": (width,),
        "mlp.c_fc.weight": (hidden, width),
        "mlp.c_fc.bias": (hidden,),
        "mlp.c_proj.weight": (width, hidden),
        "mlp.c_proj.bias": (width,),
    }
    norms = {f"ln_{index}.{kind}": (width,) for index in (1, 2) for kind in ("weight", "bias")}
    return {f"b.{name}": draw(*shape, seed=index) for index, (name, shape) in enumerate({**shapes, **norms}.items())}


@needs_onednn
def test_a_kept_layout_follows_conversions_and_stays_out_of_copies() -> None:
    linear = layer(torch.bfloat16)
    x = draw(9, 64, seed=3).to(torch.bfloat16)
    first = linear(x)
    twin = copy.deepcopy(linear)
    torch.testing.assert_close(twin(x), first)
    converted = linear.float()
    torch.testing.assert_close(converted(x.float()), first.float(), atol=4e-2, rtol=4e-2)


def test_the_kernels_stand_aside_under_autocast_and_while_a_graph_is_made() -> None:
    x = torch.zeros(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not kernels.usable(x)
    assert not kernels.usable(torch.zeros(1, dtype=torch.float64))
    seen = []
    torch.jit.trace(lambda value: (seen.append(kernels.usable(value)), value + 1)[1], x, check_trace=False)
    assert seen == [False]


def test_the_kernels_stand_aside_where_they_are_slow(monkeypatch) -> None:
    for capability, fast in (("AVX2", False), ("AVX512", kernels._AVAILABLE), ("DEFAULT", False)):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda name=capability: name)
        assert kernels._fast_in_float32() is fast
    monkeypatch.setattr(kernels, "_FAST_FLOAT32", False)
    assert not kernels.usable(torch.zeros(1))


@pytest.mark.parametrize("activation", ["none", "gelu", "silu"])
def test_plain_operations_work_in_place_on_nothing_of_the_callers(monkeypatch, activation) -> None:
    monkeypatch.setattr(kernels, "_FAST_FLOAT32", False)
    linear, x, residual = layer(), draw(2, 9, 64, seed=3), draw(2, 9, 96, seed=4)
    given = x.clone(), residual.clone()
    asked = {"activation": activation} if activation != "none" else {"residual": residual}
    with_gradients = linear(x, **asked)
    with torch.no_grad():
        assert torch.equal(linear(x, **asked), with_gradients)
        half = linear(x, residual=residual.double())
    assert half.dtype == torch.float64
    assert torch.equal(x, given[0])
    assert torch.equal(residual, given[1])
