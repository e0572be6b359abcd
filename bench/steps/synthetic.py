"""A workload without files: the same random pixels again and again, so that no loop waits for data."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ddp.vsr.losses import HybridLoss
from ddp.vsr.networks.recurrent import VSR, enlarge_centre, tracked_layers
from ddp.workload import Images, Share
from service.config.settings import RunConfig


class Size(NamedTuple):
    """A network and what it is fed: features, blocks, side of the crop in LR pixels, samples per rank."""

    n_feats: int
    n_blocks: int
    patch_size: int
    batch_size: int


SIZES = {"tiny": Size(4, 4, 16, 2), "demo": Size(32, 10, 32, 2), "large": Size(128, 36, 12, 1)}


class Pixels(NamedTuple):
    """A micro-batch made of random numbers."""

    lr: Tensor
    gt: Tensor
    skipped: tuple[str, ...] = ()


class NoImages:
    """A validation set that is never asked."""

    names: Sequence[str] = ()

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        raise IndexError(index)


class Synthetic:
    """The default network and loss on random pixels."""

    sample_count = 1000
    validation_images: Images = NoImages()
    left_out: Sequence[str] = ()
    notices: Sequence[str] = ()
    has_perceptual = False

    def __init__(self, config: RunConfig) -> None:
        self._config = config

    def build_model(self) -> nn.Module:
        config = self._config
        return VSR(config.n_feats, config.n_blocks, config.n_frames, config.scale)

    def build_loss(self) -> nn.Module:
        return HybridLoss(None)

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        assert isinstance(model, VSR)
        fusion = list(model.fusion.parameters())
        of_fusion = {id(parameter) for parameter in fusion}
        return [{"params": [item for item in model.parameters() if id(item) not in of_fusion]}, {"params": fusion}]

    def batches(self, share: Share) -> Iterator[Pixels]:
        config, side = self._config, self._config.patch_size
        big = config.scale * side
        generator = torch.Generator().manual_seed(share.rank)
        lr = torch.randint(0, 256, (config.batch_size, config.n_frames, 3, side, side), generator=generator)
        gt = torch.randint(0, 256, (config.batch_size, 3, big, big), generator=generator)
        pixels = Pixels(lr.byte(), gt.byte())
        if config.pin_memory and torch.cuda.is_available():  # else each copy to a GPU would wait for it
            pixels = Pixels(pixels.lr.pin_memory(), pixels.gt.pin_memory())
        while True:
            yield pixels

    def layers(self, model: nn.Module) -> Mapping[str, nn.Module]:
        assert isinstance(model, VSR)
        return tracked_layers(model)

    def enlarge(self, lr: Tensor) -> Tensor:
        return enlarge_centre(lr, self._config.scale)

    def score(self, picture: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        raise NotImplementedError
