"""The data of a training: the patch sets of DATASET_ROOT and DATA_SOURCES, opened, checked and mixed.

Validation images of all sources are one list, each of them once whatever the weights, because a record has one mean
over all images. With several sources their names begin with that of the source, so that `validation_images` of a record
keeps the sources apart, as frameworks with one table for each test set do. Never opens a video.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.utils.data import Dataset

from ddp.vsr.feeding.leakage import check_leakage
from ddp.vsr.feeding.mixture import MixedDataset, seed_of_source
from ddp.vsr.feeding.noise import NoisyDataset, noise_range
from ddp.vsr.packed_patches import PackedPatches, packed_copy
from ddp.vsr.patch_set import CorruptImageError, PatchSet
from ddp.vsr.sample_stream import Sample, StreamDataset
from ddp.workload import UnreadableImageError, fingerprint
from service.config.data_sources import DataSource, data_sources
from service.config.settings import RunConfig
from service.errors import DatasetError


@dataclass(frozen=True)
class OpenSource:
    """One source with its two sides, and the packed copy of the first if there is one."""

    source: DataSource
    training: PatchSet
    validation: PatchSet
    packed: PackedPatches | None
    notices: tuple[str, ...]


class ValidationImages:
    """The validation images of all sources, in the order of the sources."""

    def __init__(self, sources: Sequence[OpenSource]) -> None:
        self._places = [(item.validation, index) for item in sources for index in range(len(item.validation))]
        self.names: Sequence[str] = tuple(
            f"{_prefix(item, sources)}{name}" for item in sources for name in item.validation.names
        )

        self.sets: Sequence[str] = tuple(item.source.name for item in sources for _ in item.validation.names)

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Return LR (T, 3, h, w) and GT (3, H, W), uint8. Raises `UnreadableImageError`."""
        patches, own_index = self._places[index]
        try:
            return patches.read(own_index)
        except CorruptImageError as error:
            raise UnreadableImageError(str(error)) from error


class TrainingData:
    """All sources of a training."""

    def __init__(self, config: RunConfig, sources: Sequence[OpenSource], notices: Sequence[str] = ()) -> None:
        self._config = config
        self._sources = tuple(sources)
        self.sample_count = sum(len(item.training) for item in sources)
        """Samples in an epoch: as many as all sources have; with weights some of them come more or less than once."""
        self.validation_images = ValidationImages(sources)
        self.smallest_image_side = config.scale * min(min(size) for item in sources for size in item.validation.sizes)
        """Pixels of the shortest side of GT among the validation images."""
        self.left_out = [
            f"{_prefix(item, sources)}{skipped.name}: {skipped.reason}"
            for item in sources
            for skipped in (*item.training.skipped, *item.validation.skipped)
        ]
        self.notices = [*_shares(sources), *notices, *(notice for item in sources for notice in item.notices)]
        self.training_fingerprint = _joined([(item.source.weight, item.training.fingerprint) for item in sources])
        self.validation_fingerprint = _joined([(1, item.validation.fingerprint) for item in sources])

    def dataset(self) -> Dataset[Sample]:
        """Return the samples by position. Raises DatasetError if those of the sources have no common size."""
        config, strongest = self._config, noise_range(self._config)
        mixed = self._mixed()
        return NoisyDataset(mixed, strongest, config.seed) if strongest else mixed

    def _mixed(self) -> Dataset[Sample]:
        config, sources = self._config, self._sources
        if len(sources) == 1:
            return _stream(sources[0], config, config.seed)
        _check_common_size(sources, config.patch_size)
        streams = [_stream(item, config, seed_of_source(config.seed, i)) for i, item in enumerate(sources)]
        names, weights = zip(*((item.source.name, item.source.weight) for item in sources), strict=True)
        return MixedDataset(names, streams, weights, config.seed)


def open_training_data(config: RunConfig) -> TrainingData:
    """Open all patch sets.

    Raises `DatasetError` if one has no usable pair on a side, or trains on what another validates on.
    """
    sources = [_opened(source, config) for source in data_sources_of(config)]
    notices = check_leakage([item.source.path for item in sources])
    return TrainingData(config, sources, notices)


def data_sources_of(config: RunConfig) -> tuple[DataSource, ...]:
    """Return the sources that the settings name."""
    return data_sources(config.dataset_root, config.data_sources)


def _opened(source: DataSource, config: RunConfig) -> OpenSource:
    training = PatchSet.open(source.path, "Patches", config.n_frames, config.scale)
    validation = PatchSet.open(source.path, "Val", config.n_frames, config.scale)
    packed, notices = packed_copy(training)
    return OpenSource(source, training, validation, packed, tuple(notices))


def _stream(item: OpenSource, config: RunConfig, seed: int) -> StreamDataset:
    return StreamDataset(item.training, seed=seed, patch_size=config.patch_size, scale=config.scale, pairs=item.packed)


def _prefix(item: OpenSource, sources: Sequence[OpenSource]) -> str:
    return f"{item.source.name}__" if len(sources) > 1 else ""


def _shares(sources: Sequence[OpenSource]) -> list[str]:
    """Return a line about the shares of several sources."""
    if len(sources) == 1:
        return []
    total = sum(item.source.weight for item in sources)
    shares = [
        f"{item.source.weight / total:.1%} from {item.source.path} ({len(item.training)} pairs)" for item in sources
    ]
    return [f"Training samples come from {len(sources)} patch sets: {', '.join(shares)}."]


def _joined(fingerprints: Sequence[tuple[int, str]]) -> str:
    """Return one fingerprint; that of a single source is its own."""
    if len(fingerprints) == 1:
        return fingerprints[0][1]
    return fingerprint(f"{weight} {text}" for weight, text in fingerprints)


def _check_common_size(sources: Sequence[OpenSource], patch_size: int) -> None:
    """Raise DatasetError if whole patches of the sources have different sizes."""
    sizes = {item.source.path: item.training.sizes[0] for item in sources}
    if patch_size == 0 and len(set(sizes.values())) > 1:
        text = ", ".join(f"{width}x{height} in {path}" for path, (height, width) in sizes.items())
        smallest = min(min(size) for item in sources for size in item.training.sizes)
        raise DatasetError(
            f"LR patches of the data sources have different sizes ({text}), which make no common batch: "
            f"set PATCH_SIZE to at most {smallest}, so that all are cropped to one size"
        )
