#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8), VideoFrame.to_ndarray(format="gray") of a yuv420p frame.
#
# Behaviour: the array is not the frame's Y plane. Limited-range luma (16…235, also when no range is given) is stretched to
#   0…255, and what lies below 16 or above 235 is lost; only a frame marked as full range gives its plane. Two frames whose
#   luma differs have a PSNR that is about 20 log10(255 / 219) = 1.3 dB lower through "gray" than through the planes.
# The good guess that was wrong: a grey picture of a YUV frame is its luma, unconverted, since both are 8 bits of brightness;
#   so PSNR-Y may be taken from it.
# What helps: take PSNR-Y from planes[0], or from to_ndarray(), whose first rows are the Y plane; "gray" is right for looking.
#
# Output seen:
#   Y plane 16 19 23 … 228 232 235
#   as gray, no range given: 0 3 8 … 247 252 255
#   as gray, marked as full range: 16 19 23 … 228 232 235
#   luma 5 and 245 as gray: 0 255
#   luma 1 to 8 levels brighter: PSNR 34.1 dB by the planes, 33.0 dB by gray
# Exits 0 while that holds, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6

"$folder/venv/bin/python" - <<'PYTHON' | tee "$folder/output"
import av
import numpy as np
from av.video.reformatter import ColorRange

WIDTH, HEIGHT = 64, 48
ramp = np.tile(np.linspace(16, 235, WIDTH).round().astype(np.uint8), (HEIGHT, 1))


def frame_of(luma):
    whole = np.full((HEIGHT * 3 // 2, WIDTH), 128, dtype=np.uint8)
    whole[:HEIGHT] = luma
    return av.VideoFrame.from_ndarray(whole, format="yuv420p")


def ends(row):
    return " ".join(map(str, row[:3])) + " … " + " ".join(map(str, row[-3:]))


def psnr(first, second):
    return 10 * np.log10(255**2 / np.mean((first.astype(float) - second.astype(float)) ** 2))


frame = frame_of(ramp)
print("Y plane", ends(frame.to_ndarray()[0]))
print("as gray, no range given:", ends(frame.to_ndarray(format="gray")[0]))
frame.color_range = ColorRange.JPEG
print("as gray, marked as full range:", ends(frame.to_ndarray(format="gray")[0]))

outside = frame_of(np.where(ramp < 128, 5, 245).astype(np.uint8)).to_ndarray(format="gray")
print("luma 5 and 245 as gray:", outside[0, 0], outside[0, -1])

dark = np.full((HEIGHT, WIDTH), 100, dtype=np.uint8)
first, second = frame_of(dark), frame_of(dark + np.tile(np.arange(WIDTH, dtype=np.uint8) % 8 + 1, (HEIGHT, 1)))
planes = psnr(first.to_ndarray()[:HEIGHT], second.to_ndarray()[:HEIGHT])
gray = psnr(first.to_ndarray(format="gray"), second.to_ndarray(format="gray"))
print(f"luma 1 to 8 levels brighter: PSNR {planes:.1f} dB by the planes, {gray:.1f} dB by gray")
PYTHON
diff "$folder/output" - <<'SEEN'
Y plane 16 19 23 … 228 232 235
as gray, no range given: 0 3 8 … 247 252 255
as gray, marked as full range: 16 19 23 … 228 232 235
luma 5 and 245 as gray: 0 255
luma 1 to 8 levels brighter: PSNR 34.1 dB by the planes, 33.0 dB by gray
SEEN
