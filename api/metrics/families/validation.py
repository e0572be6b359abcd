"""Metrics of the last validation: of the network's output (ki), the enlarged input (lr), the averaged weights (ema)."""

from collections.abc import Mapping

from api.metrics.definition import MetricDefinition, from_snapshot, labelled


def _pictures(before: str, after: str = "") -> Mapping[str, str]:
    return {picture: f"{before}_{picture}{after}" for picture in ("ki", "lr", "ema")}


ROWS: tuple[MetricDefinition, ...] = (
    labelled(
        "leitstand_validation_quality_ratio",
        "Mean quality over the validation images",
        "picture",
        _pictures("quality", "_value"),
    ),
    labelled("leitstand_validation_psnr_db", "Mean PSNR, RGB", "picture", _pictures("psnr", "_db")),
    labelled("leitstand_validation_psnr_y_db", "Mean PSNR of the luma", "picture", _pictures("psnr_y", "_db")),
    labelled("leitstand_validation_ssim_ratio", "Mean SSIM, RGB", "picture", _pictures("ssim")),
    from_snapshot("leitstand_validation_loss", "Mean total loss over the validation images", "validation_loss_value"),
    from_snapshot("leitstand_validation_ema_loss", "The same of the averaged weights", "validation_loss_ema_value"),
    from_snapshot("leitstand_validation_best_quality_ratio", "Highest quality of the run so far", "best_quality_ever"),
    from_snapshot("leitstand_validation_images", "Validation images scored", "validation_image_count"),
    from_snapshot("leitstand_validation_duration_seconds", "Duration of the last validation", "validation_duration"),
)
