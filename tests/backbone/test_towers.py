"""Both towers answer as open_clip's own do, and encode prompts in pieces as in one."""

import pytest
import torch

from anomalib_zsad.backbone import FrozenCLIP
from anomalib_zsad.backbone.text import start_and_end_tokens, token_ids
from anomalib_zsad.backbone.vision import resize_positions


@pytest.fixture(scope="module")
def backbone(files):
    return FrozenCLIP(**files)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_the_global_feature_is_open_clips(backbone, reference) -> None:
    images = noise(2, 3, 56, 56)
    torch.testing.assert_close(
        backbone.global_feature(backbone.encode_image(images)), reference.encode_image(images), atol=1e-4, rtol=1e-4
    )


@torch.no_grad()
def test_quick_gelu_is_a_choice(files, backbone) -> None:
    quick = FrozenCLIP(**files, activation="quick_gelu")
    images = noise(1, 3, 56, 56)
    gelu, other = (model.global_feature(model.encode_image(images)) for model in (backbone, quick))
    assert (gelu - other).abs().max() > 1e-3


@torch.no_grad()
def test_text_is_open_clips(backbone, reference) -> None:
    import open_clip

    text = "a photo of a metal nut"
    start, end = start_and_end_tokens()
    ids = torch.tensor([[start, *token_ids(text), end]])
    expected = reference.encode_text(open_clip.tokenize([text]))
    torch.testing.assert_close(backbone.text.encode(backbone.text.embed(ids)), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_prefixes_that_are_shared_change_nothing(backbone) -> None:
    constant, images, samples = noise(1, 4, 64), noise(2, 3, 64, seed=1), noise(2, 5, 2, 64, seed=2)
    prefix = backbone.text.read(images, backbone.text.read(constant))
    pieces = backbone.text.encode(samples, prefix)
    whole = torch.cat((constant[:, None].expand(2, 5, -1, -1), images[:, None].expand(-1, 5, -1, -1), samples), dim=-2)
    torch.testing.assert_close(pieces, backbone.text.encode(whole), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_what_stands_behind_the_end_is_never_read(backbone) -> None:
    prompts = noise(2, 7, 64)
    ends = torch.tensor([4, 6])
    together = backbone.text.encode(prompts, end=ends)
    alone = backbone.text.encode(prompts[:1, :5])
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-4)
    prompts[0, 5:] = 100
    torch.testing.assert_close(backbone.text.encode(prompts, end=ends), together)


def test_prompts_learn_through_the_frozen_towers(backbone) -> None:
    prompts = noise(1, 4, 64).requires_grad_()
    backbone.text.encode(noise(1, 2, 64, seed=3), backbone.text.read(prompts)).sum().backward()
    assert prompts.grad.abs().sum() > 0
    assert not list(backbone.parameters())
    assert not backbone.state_dict()


@torch.no_grad()
def test_layers_come_in_the_order_asked_and_only_they(backbone) -> None:
    images = noise(1, 3, 56, 56)
    third, first = backbone.encode_image(images, (3, 1)).patches
    torch.testing.assert_close(first, backbone.encode_image(images, (1,)).patches[0])
    torch.testing.assert_close(third, backbone.encode_image(images, (3,)).patches[0])
    # The last block computes its class token alone where nobody asks for its patches: the same class token.
    torch.testing.assert_close(
        backbone.encode_image(images).class_token, backbone.encode_image(images, (3,)).class_token, atol=1e-5, rtol=1e-5
    )


def test_positions_keep_the_class_token_and_a_constant_grid() -> None:
    positions = torch.cat((torch.full((1, 8), 5.0), torch.full((16, 8), 2.0)))
    for how in ("bicubic_antialias", "bilinear"):
        resized = resize_positions(positions, 6, how)
        assert resized.shape == (37, 8)
        torch.testing.assert_close(resized[0], positions[0])
        torch.testing.assert_close(resized[1:], torch.full((36, 8), 2.0))


def test_it_stays_in_eval_mode(backbone) -> None:
    assert not backbone.train().training
    assert not any(module.training for module in backbone.modules())


def test_a_prompt_longer_than_the_tower_is_an_error(backbone) -> None:
    with pytest.raises(ValueError, match=r"80 tokens is longer than the text tower's 77; use a shorter class name"):
        backbone.text.encode(noise(1, 80, 64))


def test_sixteen_bit_weights_give_sixteen_bit_answers(files) -> None:
    halved = FrozenCLIP(**files).to(torch.bfloat16)
    assert halved.dtype == torch.bfloat16
    assert halved.encode_image(noise(1, 3, 56, 56)).class_token.dtype == torch.bfloat16
