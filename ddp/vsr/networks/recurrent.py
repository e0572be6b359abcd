"""The video super-resolution network: bidirectional propagation from the centre frame, residual trunks, PixelShuffle.

    frames 0 … c … T-1 ──feat_extract──> features
      backward: state = features[c];  for i = c+1 … T-1:  state = backward_trunk(backward_fuse([state, features[i]]))
      forward:  state = features[c];  for i = c-1 … 0:    state = forward_trunk(forward_fuse([state, features[i]]))
    output = upsample(fusion([backward state, forward state])) + bilinear enlargement of frame c

No optical flow and no alignment. Never clamps its output and never logs.

Legend: B = batch, T = frames, c = T // 2 the centre, F = feature channels, s = scale, h, w = LR pixels.
"""

import math
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from service.errors import UserError

SCALES = (2, 3, 4)


class ResidualBlock(nn.Module):
    """Residual block: input + conv 3x3(LeakyReLU(0.1)(conv 3x3(input))), neither scaled nor activated."""

    def __init__(self, n_feats: int, activation_checkpointing: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_feats, n_feats, 3, padding=1)
        self.activation = nn.LeakyReLU(0.1)
        self.conv2 = nn.Conv2d(n_feats, n_feats, 3, padding=1)
        self.activation_checkpointing = activation_checkpointing

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, F, h, w) to the same shape."""
        # Inside forward, so that the recomputation in backward does not call the block's hooks again.
        if self.activation_checkpointing and self.training:
            return x + checkpoint(self._residual, x, use_reentrant=False)
        return x + self._residual(x)

    def _residual(self, x: Tensor) -> Tensor:
        return self.conv2(self.activation(self.conv1(x)))


class VSR(nn.Module):
    """Network from `n_frames` LR frames to the centre frame enlarged by `scale`.

    `n_blocks` counts the residual blocks of both trunks together. `activation_checkpointing` recomputes each block in
    backward instead of storing its activations: same results, less memory, about a third more time.
    Raises UserError for invalid sizes.
    """

    def __init__(
        self,
        n_feats: int,
        n_blocks: int,
        n_frames: int = 5,
        scale: int = 3,
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        _check(n_feats, n_blocks, n_frames, scale)
        self.n_frames = n_frames
        self.scale = scale
        self.feat_extract = nn.Conv2d(3, n_feats, 3, padding=1)
        self.backward_fuse = nn.Conv2d(2 * n_feats, n_feats, 1)
        self.backward_trunk = _trunk(n_feats, n_blocks, activation_checkpointing)
        self.forward_fuse = nn.Conv2d(2 * n_feats, n_feats, 1)
        self.forward_trunk = _trunk(n_feats, n_blocks, activation_checkpointing)
        self.fusion = nn.Conv2d(2 * n_feats, n_feats, 1)
        self.upsample = _upsample(n_feats, scale)

    def forward(self, lr: Tensor) -> Tensor:
        """Map (B, T, 3, h, w) RGB in [0, 1] to (B, 3, s·h, s·w), about [0, 1] but not clamped."""
        if lr.ndim != 5 or lr.shape[1] != self.n_frames:
            shape = f"(batch, {self.n_frames}, 3, height, width)"
            raise UserError(f"the model was built for {self.n_frames} frames, {shape}: got {tuple(lr.shape)}")
        frames = self.feat_extract(lr.flatten(0, 1)).unflatten(0, lr.shape[:2]).unbind(1)  # T times (B, F, h, w)
        centre = self.n_frames // 2
        later, earlier = frames[centre + 1 :], frames[:centre][::-1]
        backward = _propagate(frames[centre], later, self.backward_fuse, self.backward_trunk)
        forward = _propagate(frames[centre], earlier, self.forward_fuse, self.forward_trunk)
        residual = self.upsample(self.fusion(torch.cat([backward, forward], dim=1)))
        return residual + enlarge_centre(lr, self.scale)


def enlarge_centre(lr: Tensor, scale: int) -> Tensor:
    """Enlarge the centre frame of (B, T, 3, h, w) bilinearly to (B, 3, s·h, s·w), the image that scores call LR."""
    centre = lr[:, lr.shape[1] // 2]
    return F.interpolate(centre, scale_factor=float(scale), mode="bilinear", align_corners=False)


def reach_for(n_blocks: int, n_frames: int) -> int:
    """Return how many LR pixels away a pixel of the output depends on: one for each convolution of 3x3 on the way."""
    in_trunk = 2 * _blocks_of_trunk(n_blocks)
    return 1 + n_frames // 2 * in_trunk + 2


def sizes_in(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the settings `n_feats`, `n_blocks` and `scale` of a network with these weights; empty for another network.

    The number of frames is not seen in them: the trunks are the same for each.
    """
    first, enlarging = tensors.get("feat_extract.weight"), tensors.get("upsample.0.weight")
    if first is None or enlarging is None or first.ndim != 4 or enlarging.ndim != 4 or not len(first):
        return {}
    trunk = {name.split(".")[1] for name in tensors if name.startswith("backward_trunk.")}
    return {"n_feats": len(first), "n_blocks": 2 * len(trunk), "scale": math.isqrt(len(enlarging) // len(first))}


def tracked_layers(model: VSR) -> dict[str, nn.Module]:
    """Return the layers whose activity is reported, by the names and in the order of `layer_activity_map`."""
    layers: dict[str, nn.Module] = {}
    layers |= {f"Backward_Block_{i:02d}": block for i, block in enumerate(model.backward_trunk, start=1)}
    layers["Backward_Fuse"] = model.backward_fuse
    layers |= {f"Forward_Block_{i:02d}": block for i, block in enumerate(model.forward_trunk, start=1)}
    layers["Forward_Fuse"] = model.forward_fuse
    layers["Final_Fusion"] = model.fusion
    return layers


def _check(n_feats: int, n_blocks: int, n_frames: int, scale: int) -> None:
    if n_feats < 1:
        raise UserError(f"N_FEATS is {n_feats}: the network needs at least 1 feature channel")
    if n_blocks < 1:
        raise UserError(f"N_BLOCKS is {n_blocks}: the network needs at least 1 residual block")
    if n_frames < 3 or n_frames % 2 == 0:
        raise UserError(f"{n_frames} frames have no centre with neighbours: use an odd number from 3 on, as 5 or 7")
    if scale not in SCALES:
        raise UserError(f"a scale of {scale} is not built: choose one of {', '.join(map(str, SCALES))}")


def _trunk(n_feats: int, n_blocks: int, activation_checkpointing: bool) -> nn.Sequential:
    """Build a trunk of half of the blocks, at least one."""
    return nn.Sequential(*(ResidualBlock(n_feats, activation_checkpointing) for _ in range(_blocks_of_trunk(n_blocks))))


def _blocks_of_trunk(n_blocks: int) -> int:
    return max(1, n_blocks // 2)


def _upsample(n_feats: int, scale: int) -> nn.Sequential:
    """Build the upsampling (B, F, h, w) -> (B, 3, s·h, s·w), with one PixelShuffle for every scale.

    x4 is one stage too: two x2 stages would need half the parameters, but a quarter more arithmetic, and other module
    names than the other scales.

    The last convolution is initialized to zero, so that the untrained network equals bilinear enlargement, and KI can
    be compared with LR from the first step on. The other layers get their first gradient at the second step.
    """
    last = nn.Conv2d(n_feats, 3, 3, padding=1)
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Conv2d(n_feats, scale**2 * n_feats, 3, padding=1), nn.PixelShuffle(scale), last)


def _propagate(state: Tensor, frames: Iterable[Tensor], fuse: nn.Module, trunk: nn.Module) -> Tensor:
    """Propagate `state` over `frames`, nearest first; the trunk runs once per frame with the same weights."""
    for frame in frames:
        state = trunk(fuse(torch.cat([state, frame], dim=1)))
    return state
