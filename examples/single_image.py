"""Single-image super-resolution: the smallest complete workload beside the default one.

`WORKLOAD=examples.single_image` trains a small network on plain pictures: `DATASET_ROOT/Patches/GT/*.png`, scored on
`DATASET_ROOT/Val/GT/*.png`. It makes the low-resolution pictures (LR) itself and keeps all pictures in memory.

Legend: B = batch; s = SCALE; h, w = LR size; H, W = size of the target (GT), H = s h, W = s w.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddp.vsr.image_quality import score
from ddp.vsr.losses import HybridLoss
from ddp.vsr.pictures import read_picture
from ddp.vsr.sample_stream import PositionSampler, Sample, augmentation_at, collate, sample_at
from ddp.vsr.unreadable import UnreadableFileError, printable_name
from ddp.workload import Batch, Images, Share, Workload
from service.config.settings import RunConfig
from service.errors import DatasetError, SettingError


class SingleImageNetwork(nn.Module):
    """A chain of residual convolutions that corrects the bilinearly enlarged picture."""

    def __init__(self, n_feats: int, n_blocks: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, n_feats, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(n_feats, n_feats, 3, padding=1) for _ in range(n_blocks))
        self.tail = nn.Conv2d(n_feats, 3 * scale**2, 3, padding=1, bias=False)
        nn.init.zeros_(self.tail.weight)  # untrained, it gives the enlarged picture itself: KI starts where LR is

    def forward(self, lr: Tensor) -> Tensor:
        """(B, 1, 3, h, w) → (B, 3, H, W), values about 0…1."""
        features = self.head(lr[:, 0])
        for block in self.blocks:
            features = features + F.relu(block(features))
        return F.pixel_shuffle(self.tail(features), self.scale) + enlarge(lr, self.scale)


def enlarge(lr: Tensor, scale: int) -> Tensor:
    """Enlarge the only frame bilinearly: (B, 1, 3, h, w) → (B, 3, H, W)."""
    return F.interpolate(lr[:, 0], scale_factor=float(scale), mode="bilinear", align_corners=False)


class PictureFolder:
    """The PNG files of one folder as pairs of LR and GT, in the order of their names on every rank."""

    def __init__(self, folder: Path, scale: int, smallest: int) -> None:
        pairs: dict[str, tuple[Tensor, Tensor]] = {}
        self.left_out: list[str] = []
        for path in sorted(folder.glob("*.png")):
            try:
                pairs[path.name] = read_pair(path, scale, smallest)
            except UnreadableFileError as error:
                self.left_out.append(f"{printable_name(path.name)}: {error}")
        if not pairs:
            raise DatasetError(f"{folder} has no usable PNG file ({len(self.left_out)} left out): check DATASET_ROOT.")
        self.names: Sequence[str] = tuple(pairs)
        self._pairs = tuple(pairs.values())

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Return LR (1, 3, h, w) and GT (3, H, W), uint8."""
        return self._pairs[index]


def read_pair(path: Path, scale: int, smallest: int) -> tuple[Tensor, Tensor]:
    """Read GT and average its s × s blocks into LR. Raises `UnreadableFileError`, also if LR is below `smallest`."""
    gt = torch.from_numpy(read_picture(path)).permute(2, 0, 1)
    h, w = gt.shape[1] // scale, gt.shape[2] // scale
    if min(h, w) < smallest:
        raise UnreadableFileError(f"its LR has {w}x{h} pixels, but {smallest}x{smallest} are needed")
    gt = gt[:, : scale * h, : scale * w]
    return F.avg_pool2d(gt.float(), scale).round().byte().unsqueeze(0), gt


class SingleImage:
    """What the trainer asks for: network, loss, data and scores, in one process."""

    has_perceptual = False  # the controller then keeps the weight of the fourth term at 0
    notices: Sequence[str] = ()  # sentences for the log's first lines

    def __init__(self, config: RunConfig, training: PictureFolder, validation: PictureFolder) -> None:
        self._config = config
        self._training = training
        self.sample_count = len(training.names)  # the length of an epoch
        self.validation_images: Images = validation  # shared out among the ranks by index
        self.reach = config.n_blocks + 2  # optional: LR pixels that a pixel depends on, so that tiles are possible
        self.left_out: Sequence[str] = [*training.left_out, *validation.left_out]  # logged at the start

    def build_model(self) -> nn.Module:
        """Build the network; the trainer puts it on the device and wraps it for all ranks."""
        return SingleImageNetwork(self._config.n_feats, self._config.n_blocks, self._config.scale)

    def build_loss(self) -> nn.Module:
        """Build the record's four terms, unweighted: L1, multi-scale, gradient and perceptual, which is 0 here."""
        return HybridLoss()

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Return the optimizer's groups: a single one, so that all parameters learn at the same rate."""
        return [{"params": list(model.parameters())}]

    def batches(self, share: Share) -> Iterator[Batch]:
        """Yield micro-batches without end; each depends on its position and SEED alone, so that a resume is exact."""
        for positions in PositionSampler(batch_size=self._config.batch_size, **asdict(share)):
            yield collate([self._crop(position) for position in positions])

    def layers(self, model: nn.Module) -> Mapping[str, nn.Module]:
        """Name the layers whose activity a record shows."""
        assert isinstance(model, SingleImageNetwork)
        blocks = {f"Block_{number:02d}": block for number, block in enumerate(model.blocks, start=1)}
        return {"Head": model.head, **blocks, "Tail": model.tail}

    def enlarge(self, lr: Tensor) -> Tensor:
        """Enlarge LR without the network: the picture that KI has to beat."""
        return enlarge(lr, self._config.scale)

    def score(self, picture: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        """Score LR or KI against GT: PSNR, SSIM, PSNR of Y and quality of every image."""
        return score(picture, target)._asdict()

    def _crop(self, position: int) -> Sample:
        """Cut PATCH_SIZE × PATCH_SIZE pixels of LR, and the same place of GT, from the picture at a position."""
        side, scale, seed = self._config.patch_size, self._config.scale, self._config.seed
        lr, gt = self._training.read(sample_at(position, self.sample_count, seed))
        place = augmentation_at(position, seed)
        top, left = int(place.top * (lr.shape[-2] - side + 1)), int(place.left * (lr.shape[-1] - side + 1))
        lr = lr[..., top : top + side, left : left + side]
        return Sample(lr, gt[:, scale * top : scale * (top + side), scale * left : scale * (left + side)], ())


def build(config: RunConfig) -> Workload:
    """Read the pictures, as every rank does at its start. Raises `UserError`, whose sentence ends the start."""
    if config.patch_size == 0:
        raise SettingError("PATCH_SIZE is 0, but this workload trains on crops of one size: set it, as to 16.")
    training = PictureFolder(config.dataset_root / "Patches" / "GT", config.scale, config.patch_size)
    validation = PictureFolder(config.dataset_root / "Val" / "GT", config.scale, smallest=1)
    return SingleImage(config, training, validation)
