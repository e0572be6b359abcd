"""`contact_sheet.jpg` of a patch set: validation images and some patches, each LR beside GT.

To look at before training: it shows what numbers do not, such as black bars, wrong colours or the wrong film. Made of
what was written, never of the videos.
"""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SHEET_FILE = "contact_sheet.jpg"
COLUMNS = 4
MAX_VALIDATION, MAX_CELLS = 8, 32
PICTURE_HEIGHT, PICTURE_WIDTH = 120, 180  # pixels; a cell has two pictures, side by side
CAPTION_HEIGHT, GAP = 16, 8
BACKGROUND, INK = (24, 26, 30), (214, 218, 224)
JPEG_QUALITY = 85


def save_contact_sheet(folder: Path, n_frames: int) -> None:
    """Write the contact sheet of the patch set in `folder`, whose LR images have `n_frames` frames each.

    Raises `OSError`.
    """
    paths = _chosen(folder)
    width, height = 2 * PICTURE_WIDTH + GAP, PICTURE_HEIGHT + CAPTION_HEIGHT
    rows = -(-len(paths) // COLUMNS)
    columns = min(COLUMNS, len(paths))
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP), BACKGROUND)
    for number, path in enumerate(paths):
        row, column = divmod(number, COLUMNS)
        sheet.paste(_cell(path, n_frames, (width, height)), (GAP + column * (width + GAP), GAP + row * (height + GAP)))
    sheet.save(folder / SHEET_FILE, quality=JPEG_QUALITY)


def _chosen(folder: Path) -> Sequence[Path]:
    """Return GT images: of validation the first, of training some at equal distances, so that all sources show."""
    validation = sorted((folder / "Val" / "GT").glob("*.png"))[:MAX_VALIDATION]
    training = sorted((folder / "Patches" / "GT").glob("*.png"))
    count = min(len(training), MAX_CELLS - len(validation))
    return [*validation, *(training[number * len(training) // count] for number in range(count))]


def _cell(gt_path: Path, n_frames: int, size: tuple[int, int]) -> Image.Image:
    """Return the middle LR frame, enlarged without smoothing, beside GT, with the name below."""
    cell = Image.new("RGB", size, BACKGROUND)
    lr_path = gt_path.parent.parent / "LR" / gt_path.name
    with Image.open(gt_path) as gt, Image.open(lr_path) as stack:
        height = stack.height // n_frames
        top = n_frames // 2 * height
        lr = stack.crop((0, top, stack.width, top + height))
        small = _fitted(lr, Image.Resampling.NEAREST)
        cell.paste(small, (0, 0))
        cell.paste(_fitted(gt, Image.Resampling.LANCZOS), (small.width + GAP, 0))
    side = gt_path.parent.parent.name
    font = ImageFont.load_default(size=11)
    ImageDraw.Draw(cell).text((0, PICTURE_HEIGHT + 2), f"{side}  {gt_path.stem}", fill=INK, font=font)
    return cell


def _fitted(image: Image.Image, resampling: Image.Resampling) -> Image.Image:
    """Return an image as large as fits into its place."""
    factor = min(PICTURE_WIDTH / image.width, PICTURE_HEIGHT / image.height)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.convert("RGB").resize(size, resampling)
