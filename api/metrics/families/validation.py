"""Metrics of the last validation: of the network's output (KI), the upscaled input (LR) and the EMA weights' output."""

from collections.abc import Mapping

from api.metrics.definition import MetricDefinition, from_snapshot, labelled


def _by_image(prefix: str, suffix: str = "") -> Mapping[str, str]:
    return {image: f"{prefix}_{image}{suffix}" for image in ("ki", "lr", "ema")}


METRICS: tuple[MetricDefinition, ...] = (
    labelled(
        "leitstand_validation_quality_ratio",
        "Mean quality over the validation images",
        "picture",
        _by_image("quality", "_value"),
    ),
    labelled("leitstand_validation_psnr_db", "Mean PSNR, RGB", "picture", _by_image("psnr", "_db")),
    labelled("leitstand_validation_psnr_y_db", "Mean PSNR of the luma", "picture", _by_image("psnr_y", "_db")),
    labelled("leitstand_validation_ssim_ratio", "Mean SSIM, RGB", "picture", _by_image("ssim")),
    from_snapshot("leitstand_validation_loss", "Mean total loss over the validation images", "validation_loss_value"),
    from_snapshot("leitstand_validation_ema_loss", "The same of the averaged weights", "validation_loss_ema_value"),
    from_snapshot("leitstand_validation_best_quality_ratio", "Highest quality of the run so far", "best_quality_ever"),
    from_snapshot("leitstand_validation_images", "Validation images scored", "validation_image_count"),
    from_snapshot("leitstand_validation_duration_seconds", "Duration of the last validation", "validation_duration"),
)
