"""Bayes-PFL passes what every model passes, and does what is its own."""

import math

import pytest
import torch

from anomalib_zsad.models.bayes_pfl import BayesPFL
from anomalib_zsad.models.bayes_pfl.prompts import spoken_name
from tests.models.tester import SIDE, ModelTester, engine, images, squares
from tests.models.training_run import Record


class TestBayesPFL(ModelTester):
    model_class = BayesPFL
    other_method = "CoPS"

    @torch.no_grad()
    def test_the_name_matters_and_benchmark_names_are_spoken(self, model) -> None:
        first, second = (model.model(images(1), name).pred_score for name in ("bolt", "leather"))
        assert abs(float(first - second)) > 1e-6
        spoken, written = (model.model(images(1), name).pred_score for name in ("Metal_Nut", "metal nut"))
        torch.testing.assert_close(spoken, written)
        assert spoken_name("pcb3") == "printed circuit board"

    @torch.no_grad()
    def test_the_score_is_what_its_weights_say(self, build, model) -> None:
        evidence = model.model.evidence(images())
        for weight, top_k in ((0.0, 5), (1.0, 5), (0.3, 10**6)):
            other = build(map_weight=weight, top_k=top_k, blur_sigma=0.0)
            other.load_state_dict(model.state_dict())
            answer = other.model(images())
            pixels = evidence.unsmoothed_map.flatten(1).sort(descending=True).values[:, :top_k]
            expected = (1 - weight) * evidence.image_probability + weight * pixels.mean(dim=1)
            torch.testing.assert_close(answer.pred_score, expected)
            torch.testing.assert_close(answer.anomaly_map, evidence.unsmoothed_map)

    @torch.no_grad()
    def test_noise_given_as_an_argument_decides_the_answer(self, model) -> None:
        torch_model = model.model
        seeded = (torch_model.noise_context, torch_model.noise_normal, torch_model.noise_abnormal)
        torch.testing.assert_close(torch_model(images()).pred_score, torch_model(images(), noise=seeded).pred_score)
        other = tuple(torch.zeros_like(noise) for noise in seeded)
        answer = torch_model(images(), noise=other)
        assert not torch.allclose(torch_model(images()).pred_score, answer.pred_score)
        # Without noise all samples are alike.
        assert float(answer.score_std.max()) < 1e-6

    @torch.no_grad()
    def test_the_spread_is_that_of_the_samples(self, build) -> None:
        model = build(map_weight=0.0).model
        noise = [torch.randn(4, 192, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
        together = model(images(1), noise=tuple(noise))
        single = [model(images(1), noise=tuple(part[i : i + 1] for part in noise)).pred_score for i in range(4)]
        torch.testing.assert_close(together.pred_score, torch.stack(single).mean(0))
        torch.testing.assert_close(together.score_std, torch.stack(single).std(0, correction=0), atol=1e-6, rtol=1e-3)

    def test_both_stages_train_what_they_should(self, build, tmp_path) -> None:
        model, record = build(stage_1_epochs=2), Record()
        engine(tmp_path, epochs=3, callbacks=[record]).fit(model, squares(), squares())
        assert model.model.stage == 2
        learns = {stage: {name.split(".")[0] for name in record.gradients[stage]} for stage in (1, 2)}
        assert learns[2] == {"class_mapping", "image_mapping", "fusion"}
        assert learns[1] == {name.split(".")[0] for name, _ in model.model.named_parameters()} - {
            "image_mapping",
            "fusion",
        }

    def test_the_optimiser_has_the_published_groups(self, build, tmp_path) -> None:
        model = build()
        run = engine(tmp_path, epochs=1)
        run.fit(model, squares(), squares())
        (optimizer,) = run.trainer.optimizers
        rates = {group["name"]: group["initial_lr"] for group in optimizer.param_groups}
        assert rates == {"prompt": 1e-3, "flow": 1e-3, "temperature": 1e-2, "head": 1e-4, "other": 1e-4}
        counted = sum(len(group["params"]) for group in optimizer.param_groups)
        assert counted == len(list(model.model.parameters()))

    def test_the_learning_rate_warms_up_and_falls_as_a_cosine(self, build) -> None:
        model = build()
        rates = [model._rate(step, 100) for step in range(101)]
        assert rates[:3] == pytest.approx([0.0, 0.1, 0.2])
        assert rates[10] == pytest.approx(1.0)
        assert rates[55] == pytest.approx(0.5)
        assert rates[100] == pytest.approx(0.0)
        model.model.stage = 2
        assert model._rate(80, 100) == 1.0

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"num_samples": 0}, "num_samples is 0"),
            ({"map_weight": 1.5}, "map_weight is 1.5"),
            ({"top_k": 0}, "top_k is 0"),
            ({"blur_sigma": -1.0}, "blur_sigma is -1"),
            ({"image_size": 60}, "60 is not a multiple of the patch size 14 .* nearest that is: 56"),
        ],
    )
    def test_arguments_out_of_range_are_errors(self, build, change, message) -> None:
        with pytest.raises(ValueError, match=message):
            build(**change)

    def test_temperatures_start_where_published(self, build) -> None:
        assert float(build().model.temperature_pixel.detach()) == pytest.approx(math.log(1 / 0.07))

    def test_defaults_suit_the_backbone(self, small_backbone) -> None:
        model = BayesPFL(**small_backbone)
        assert model.model.backbone.image_size == SIDE
        assert model.model.layers == (1, 2, 3, 4)
