"""CoPS passes what every zero-shot model must, and does what is its own."""

import copy
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from PIL import Image
from torchvision.transforms import v2

from anomalib_zsad.backbone import FrozenCLIP
from anomalib_zsad.cli import main
from anomalib_zsad.models.components.checkpoint import CheckpointError
from anomalib_zsad.models.cops import CoPS, CoPSModel, construction
from anomalib_zsad.models.cops.published import LEFT_OUT, published_name
from tests.models.small import write_backbone
from tests.models.tester import CLIP, SIDE, ModelTester, engine, images, squares


class TestCoPS(ModelTester):
    model_class = CoPS


@pytest.fixture(scope="module")
def build(small_backbone):
    def build(**changes) -> CoPS:
        torch.manual_seed(0)
        return CoPS(**{**small_backbone, "image_size": SIDE, "visualizer": False, **changes}).eval()

    return build


@pytest.fixture(scope="module")
def model(build) -> CoPSModel:
    return build().model


@pytest.fixture
def without_gradients():
    with torch.no_grad():
        yield


def published_file(path, model: CoPSModel, **extra: torch.Tensor) -> str:
    """A file as the published code writes it, with this model's weights."""
    state = {published_name(name): value.detach().clone() for name, value in model.named_parameters()}
    state = {name: value for name, value in state.items() if not name.startswith(LEFT_OUT)}
    for name in ("ctx_pos", "ctx_neg"):
        state[name] = state[name][None, None]
    torch.save({"prompt_learner": state | extra}, path)
    return str(path)


class TestConstants:
    def test_defaults_are_those_of_training_on_visa(self, model) -> None:
        assert model.get_extra_state() == {
            "neighbourhood": 5,
            "alpha": 0.26,
            "beta": 0.9,
            "training_neighbourhood": 5,
            "reconstruction": False,
        }

    def test_a_checkpoints_constants_apply_unless_the_user_gives_others(self, build, tmp_path) -> None:
        trained = build(neighbourhood=3, alpha=0.35, beta=1.0, training_neighbourhood=3, reconstruction=True)
        run = engine(tmp_path)
        run.fit(trained, squares(), squares())
        path = run.trainer.checkpoint_callback.best_model_path
        assert build(checkpoint=path).model.constants == trained.model.constants
        assert CoPS.load_from_checkpoint(path, visualizer=False).model.constants == trained.model.constants
        other = build(checkpoint=path, alpha=0.5).model.constants
        assert (other.alpha, other.beta, other.neighbourhood) == (0.5, 1.0, 3)
        by_engine = build(beta=0.7)
        engine(tmp_path).test(by_engine, squares(), ckpt_path=path)
        assert (by_engine.model.constants.alpha, by_engine.model.constants.beta) == (0.35, 0.7)

    @pytest.mark.parametrize("name", ["neighbourhood", "training_neighbourhood"])
    @pytest.mark.parametrize("value", [0, 4])
    def test_an_even_neighbourhood_is_an_error(self, build, name, value) -> None:
        with pytest.raises(ValueError, match=f"{name} is {value}; give an odd number"):
            build(**{name: value})

    @pytest.mark.parametrize("name", ["alpha", "beta"])
    def test_a_share_out_of_range_is_an_error(self, build, name) -> None:
        with pytest.raises(ValueError, match=rf"{name} is 1\.5; give a share from 0 to 1"):
            build(**{name: 1.5})


@pytest.mark.usefixtures("without_gradients")
class TestAnswer:
    def test_the_score_is_made_of_the_evidence(self, model) -> None:
        evidence = model.evidence(images())
        highest = evidence.unsmoothed_map.amax(dim=(1, 2, 3))
        torch.testing.assert_close(
            model(images()).pred_score, 0.9 * evidence.image_probability + 0.1 * highest, atol=1e-6, rtol=0
        )
        assert evidence.sample_probabilities.shape == (3, 10)
        assert evidence.sample_maps.shape == (3, 10, SIDE, SIDE)

    def test_the_spread_is_that_of_each_samples_own_answer(self, build) -> None:
        model = build(blur_sigma=0, neighbourhood=1).model
        for parameter in model.vae.parameters():
            parameter.mul_(3)
        evidence, answer = model.evidence(images()), model(images())
        scores = 0.9 * evidence.sample_probabilities + 0.1 * evidence.sample_maps.amax(dim=(2, 3))
        torch.testing.assert_close(answer.score_std, scores.std(dim=1, correction=0), atol=1e-6, rtol=0)
        spread = evidence.sample_maps.std(dim=1, keepdim=True, correction=0)
        torch.testing.assert_close(answer.map_std, spread, atol=1e-6, rtol=0)
        # One sample alone answers what the evidence says of it.
        alone = model.evidence(images(), noise=model.noise[3:4])
        torch.testing.assert_close(alone.image_probability, evidence.sample_probabilities[:, 3], atol=1e-5, rtol=0)

    def test_class_names_do_not_matter(self, model) -> None:
        assert torch.equal(model(images(), "bolt").pred_score, model(images(), ["a", "b", "c"]).pred_score)

    def test_noise_decides_the_answer(self, model) -> None:
        noise = torch.randn(4, 192, generator=torch.Generator().manual_seed(0))
        assert not torch.equal(model(images(), noise=noise).pred_score, model(images()).pred_score)
        assert torch.equal(model(images(), noise=model.noise).pred_score, model(images()).pred_score)

    @pytest.mark.parametrize("shape", [(10,), (10, 100), (0, 192)])
    def test_noise_of_another_shape_is_an_error(self, model, shape) -> None:
        with pytest.raises(ValueError, match=r"noise of shape .* \(samples, 192\) is needed"):
            model(images(), noise=torch.zeros(shape))


class TestEpochs:
    @pytest.mark.parametrize(("max_epochs", "expected"), [(None, 2), (1, 1), (3, 3)])
    def test_the_models_epochs_count_where_the_trainer_has_none(self, build, tmp_path, max_epochs, expected) -> None:
        recorder = Recorder()
        run = engine(tmp_path, epochs=max_epochs, callbacks=[recorder], limit_val_batches=0)
        run.fit(build(epochs=2), squares())
        assert len(recorder.losses) == expected

    def test_no_epochs_are_an_error(self, build) -> None:
        with pytest.raises(ValueError, match="epochs is 0; give the number of epochs"):
            build(epochs=0)


class TestConstantPrefix:
    @torch.no_grad()
    def test_the_constant_tokens_are_read_once(self, build, monkeypatch) -> None:
        model, calls = build().model, []
        read = type(model.backbone.text).read

        def counted(self, tokens, *args, **kwargs):
            calls.append(tokens.shape[0])
            return read(self, tokens, *args, **kwargs)

        monkeypatch.setattr(type(model.backbone.text), "read", counted)
        first = model(images()).pred_score
        assert calls == [1, 3]
        assert torch.equal(model(images()).pred_score, first)
        assert calls == [1, 3, 3]

    @torch.no_grad()
    def test_changed_weights_change_the_answer(self, build) -> None:
        model, other = build().model, build().model
        for parameter in other.parameters():
            parameter.mul_(1.5)
        before, expected = model(images()).pred_score, other(images()).pred_score
        assert not torch.allclose(before, expected)
        model.load_state_dict(other.state_dict())
        torch.testing.assert_close(model(images()).pred_score, expected)
        model.prompts.deep[0].add_(1)
        other.prompts.deep[0].add_(1)
        torch.testing.assert_close(model(images()).pred_score, other(images()).pred_score)

    def test_what_was_read_without_gradients_does_not_stop_them(self, build) -> None:
        model = build().model
        with torch.inference_mode():
            model(images())
        model(images()).pred_score.sum().backward()
        assert model.prompts.deep[0].grad.abs().sum() > 0

    @torch.no_grad()
    def test_conversion_and_copies_forget(self, build) -> None:
        model = build().model
        expected = model(images()).pred_score
        copied = copy.deepcopy(model)
        assert copied.constant_prefix._kept is None
        torch.testing.assert_close(copied(images()).pred_score, expected)
        model.double()
        torch.testing.assert_close(model(images().double()).pred_score.float(), expected, atol=1e-4, rtol=0)


class TestBackbones:
    def test_a_shallow_text_tower_has_fewer_deep_prompts(self, model) -> None:
        assert len(model.prompts.deep) == CLIP["text_layers"] - 1

    def test_too_many_deep_prompts_are_an_error(self, build) -> None:
        with pytest.raises(ValueError, match="deep prompts for 4 blocks do not fit backbone"):
            build(deep_depth=4)

    def test_deep_prompts_longer_than_the_context_are_an_error(self, build) -> None:
        with pytest.raises(ValueError, match="deep_length 7 is more than context_length 6"):
            build(deep_length=7)

    def test_heads_that_do_not_divide_the_width_are_an_error(self, build) -> None:
        with pytest.raises(ValueError, match=r"extractor_heads 10 does not divide.*width 192.*for example 8"):
            build(extractor_heads=10)

    def test_another_block_than_the_last_is_an_error(self, build) -> None:
        with pytest.raises(ValueError, match=r"layers \(3,\) was given.*layers is \(4,\)"):
            build(layers=(3,))
        assert build(layers=(4,)).model.layers == (4,)

    def test_unequal_widths_are_an_error(self, tmp_path) -> None:
        backbone = FrozenCLIP(**write_backbone(tmp_path, 0, CLIP | {"text_width": 128}), image_size=SIDE)
        with pytest.raises(ValueError, match="embeds text of width 128 into 192; CoPS is defined for equal widths"):
            CoPSModel(backbone)

    def test_no_samples_are_an_error(self, build) -> None:
        with pytest.raises(ValueError, match="num_samples is 0"):
            build(num_samples=0)


@pytest.mark.usefixtures("without_gradients")
class TestPublishedFiles:
    def test_a_published_file_gives_the_same_answers(self, build, tmp_path) -> None:
        model = build(state_length=4, context_length=5, deep_depth=2, deep_length=3)
        unread = {"projector.fc.0.weight": torch.zeros(2, 2), "token_prefix": torch.zeros(1)}
        path = published_file(tmp_path / "trained.pth", model.model, **unread)
        loaded = build(checkpoint=path)
        assert loaded.trained
        torch.testing.assert_close(loaded.model(images()).pred_score, model.model(images()).pred_score)

    def test_constants_that_are_assumed_are_said_with_the_options_that_set_them(
        self, build, small_backbone, tmp_path, caplog, monkeypatch
    ) -> None:
        def told(act) -> list[str]:
            caplog.clear()
            act()
            return [record.getMessage() for record in caplog.records if "constants" in record.getMessage()]

        path = published_file(tmp_path / "epoch_5.pth", build().model)
        every = "epoch_5.pth is a published file, which holds no constants: neighbourhood 5, alpha 0.26, beta 0.9 are "
        (message,) = told(lambda: build(checkpoint=path))
        assert message.startswith(every + "assumed, as for one that was trained on VisA.")
        assert "--model.neighbourhood 3 --model.alpha 0.35 --model.beta 1.0" in message
        (message,) = told(lambda: build(checkpoint=path, neighbourhood=3, alpha=0.35))
        assert "no constants: beta 0.9 is assumed" in message
        assert "needs --model.beta 1.0 " in message
        constants = {"neighbourhood": 3, "alpha": 0.35, "beta": 1.0}
        assert told(lambda: build(checkpoint=path, **constants)) == []
        monkeypatch.setattr(construction, "frozen_backbone", lambda _: build().model.backbone)
        (message,) = told(lambda: construction.model_of(Path(path)))  # what commands that only score do
        assert message.startswith(every)
        Image.new("RGB", (32, 32)).save(tmp_path / "one.png")
        command = ["inspect", "-i", str(tmp_path / "one.png"), "--checkpoint", path, "--no-pages"]
        command += [word for name, value in small_backbone.items() for word in (f"--model.{name}", value)]
        (message,) = told(lambda: main([*command, "-o", str(tmp_path / "OUT")]))
        assert message.startswith(every)
        given = [word for name, value in constants.items() for word in (f"--model.{name}", str(value))]
        assert told(lambda: main([*command, *given, "-o", str(tmp_path / "GIVEN")])) == []

    def test_training_goes_on_from_a_published_file(self, build, tmp_path) -> None:
        shape = {"state_length": 4, "context_length": 5, "deep_depth": 2, "deep_length": 3}
        path = published_file(tmp_path / "trained.pth", build(**shape).model)
        model = build(checkpoint=path)
        model.trained = False  # anomalib trains what is not zero-shot
        run = engine(tmp_path)
        with torch.enable_grad():
            run.fit(model, squares(), squares())
        again = CoPS.load_from_checkpoint(run.trainer.checkpoint_callback.best_model_path, visualizer=False).eval()
        torch.testing.assert_close(again.model(images()).pred_score, model.eval().model(images()).pred_score)

    def test_a_name_that_cops_does_not_have_is_refused(self, build, model, tmp_path) -> None:
        path = published_file(tmp_path / "trained.pth", model, prompt_bank=torch.zeros(2))
        with pytest.raises(CheckpointError, match="holds 'prompt_bank', which CoPS does not have"):
            build(checkpoint=path)

    def test_an_incomplete_file_is_refused(self, build, model, tmp_path) -> None:
        path = published_file(tmp_path / "trained.pth", model)
        state = torch.load(path, weights_only=True)
        for name in ("t_n", "vae_decoder.net.0.bias"):
            cut = {key: value for key, value in state["prompt_learner"].items() if key != name}
            torch.save({"prompt_learner": cut}, path)
            with pytest.raises(CheckpointError, match=r"lacks .*incomplete"):
                build(checkpoint=path)

    def test_a_file_of_another_backbone_is_refused(self, build, model, tmp_path) -> None:
        path = published_file(tmp_path / "trained.pth", model)
        content = torch.load(path, weights_only=True)
        content["prompt_learner"]["t_a"] = torch.zeros(6, 768)
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=r"'prototypes.abnormal' of shape \(6, 768\).*has \(6, 192\)"):
            build(checkpoint=path)


def losses_of(model: CoPS, folder) -> tuple[list[float], int]:
    """Loss of each of three epochs, and how many images were encoded in training."""
    recorder = Recorder()
    torch.manual_seed(0)
    engine(folder, epochs=3, callbacks=[recorder], limit_val_batches=0).fit(model, squares())
    return recorder.losses, recorder.encoded


@pytest.fixture(scope="module")
def without_keeping(build, tmp_path_factory) -> tuple[list[float], int]:
    return losses_of(build(), tmp_path_factory.mktemp("plain"))


class TestKeptFeatures:
    @pytest.mark.parametrize("storage", ["memory", "disk"])
    def test_losses_are_the_same_and_images_are_encoded_once(self, build, without_keeping, tmp_path, storage) -> None:
        folder = str(tmp_path) if storage == "disk" else None
        model = build(keep_features=storage, keep_features_folder=folder)
        losses, encoded = losses_of(model, tmp_path / "run")
        assert losses == pytest.approx(without_keeping[0], rel=1e-5)
        assert (encoded, without_keeping[1]) == (8, 24)
        assert not list(tmp_path.glob("anomalib_zsad_features_*"))

    def test_augmented_training_data_are_refused(self, build, tmp_path) -> None:
        loader = squares()
        loader.dataset.augmentations = v2.ColorJitter(0.2)
        with pytest.raises(ValueError, match=r"the training data are augmented \(ColorJitter\)"):
            engine(tmp_path).fit(build(keep_features="memory"), loader, squares())

    def test_a_bad_option_is_an_error_at_once(self) -> None:
        with pytest.raises(ValueError, match="keep_features_limit is -1; give gigabytes"):
            CoPS(keep_features="memory", keep_features_limit=-1)


class Recorder(Callback):
    """Records losses, and counts images that go through the vision tower."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.encoded = 0

    def on_train_start(self, trainer, pl_module) -> None:
        def count(module, args):
            self.encoded += len(args[0])

        pl_module.model.backbone.vision.register_forward_pre_hook(count)

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        self.losses.append(float(trainer.callback_metrics["train_loss"]))
