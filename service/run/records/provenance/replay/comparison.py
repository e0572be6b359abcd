"""What a replay's run has otherwise than the original, as sentences: equal to the last bit it is only without any."""

from collections.abc import Iterator, Mapping
from typing import Any

COMPARED = ("settings", "world_size", "devices", "torch", "training_data", "validation_data", "leitstand")
"""The values of a provenance that a replay's file holds."""

WITHOUT_INFLUENCE = frozenset({
    "DATA_ROOT", "DATASET_ROOT", "STORE_URL", "REPLAY_FILE", "VIDEO_ROOT", "CLIPS", "NUM_WORKERS", "PIN_MEMORY",
    "KEEP_CHECKPOINTS", "PACK_RECORDS", "KEEP_RECORDS_EVERY", "KEEP_RECORDS", "LAST_SAVE_SECONDS", "SAVE_BEST",
    "COLLECTIVE_TIMEOUT_SECONDS", "STALL_SECONDS", "STALL_ACTION", "TENSORBOARD", "TENSORBOARD_IMAGES", "TRACKERS",
    "TRACKER_EXPERIMENT", "TRACKER_END_SECONDS", "RUN_ROOTS",
})  # fmt: skip
"""Settings that change nothing of what is trained; nor do those of the API and of alerts."""
OF_OTHERS = ("API_", "WEBHOOK_", "ALERT_")


def influences(name: str) -> bool:
    """Return whether a setting can change what is trained."""
    return name not in WITHOUT_INFLUENCE and not name.startswith(OF_OTHERS)


def differences(then: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return what is not here as it was, of `COMPARED`; what the file does not know is not compared."""
    return [*_setting_differences(then.get("settings") or {}, here["settings"]), *_other_differences(then, here)]


def _setting_differences(then: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    for name, value in here.items():
        if influences(name) and name in then and then[name] != value:
            yield f"{name} is {value} here, {then[name]} there."


def _other_differences(then: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    if (ranks := then.get("world_size")) not in (None, here.get("world_size")):
        yield f"{here.get('world_size')} ranks train here, {ranks} there: sums are taken in another order."
    devices = _device_names(then)
    if devices and devices != _device_names(here):
        yield f"the devices are {', '.join(_device_names(here))} here, {', '.join(devices)} there."
    for name, what in (("torch", "PyTorch"), ("leitstand", "Leitstand")):
        if then.get(name) not in (None, here.get(name)):
            yield f"{what} is {here.get(name)} here, {then[name]} there."
    for name, what in (("training_data", "training set"), ("validation_data", "validation set")):
        if then.get(name) not in (None, here.get(name)):
            yield f"the {what} is another one."


def _device_names(values: Mapping[str, Any]) -> list[str]:
    devices = values.get("devices")
    listed = devices if isinstance(devices, list) else []
    return list(dict.fromkeys(str(item.get("device")) for item in listed if isinstance(item, dict)))
