#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8, libswscale), VideoFrame.reformat(format="rgb48le") of video in YUV.
#
# Behaviour: white is not 65535. Limited-range YUV of any depth gives 65283 (255/256 of the range), full range gives the code
#   shifted left: 65280 from 8 bits, 65472 from 10, 65520 from 12; only RGB of more than 8 bits gives 65535. The flags
#   ACCURATE_RND, FULL_CHR_H_INT and BITEXACT change nothing, and it is the same for gbrp16le and gbrpf32le.
# The good guess that was wrong: 16-bit RGB is scaled so that full white is full scale, as rgb24 is (255), so a transfer
#   function may be applied to value / 65535. With PQ that makes the whole picture 1 level of 8 bits darker.
# What helps: divide by the white that the source has, or convert YUV by the formula.
#
# Output seen:
#   yuv420p limited 65283 rgb24 255
#   yuv420p10le limited 65283 rgb24 255
#   yuv444p12le limited 65283 rgb24 255
#   yuv420p full 65280 rgb24 255
#   yuv420p10le full 65472 rgb24 255
#   yuv444p12le full 65520 rgb24 255
#   gbrp10le RGB 65535 rgb24 255
# Exits 0 while that holds, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6

"$folder/venv/bin/python" - <<'PYTHON' | tee "$folder/output"
import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation

EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


def white(pixel_format, kind):
    frame = av.VideoFrame(64, 64, pixel_format)
    bits = frame.format.components[0].bits
    top, middle = 2**bits - 1 if kind != "limited" else 235 << (bits - 8), 1 << (bits - 1)
    for number, plane in enumerate(frame.planes):
        dtype = np.uint16 if bits > 8 else np.uint8
        value = top if number == 0 or kind == "RGB" else middle
        plane.update(np.full(plane.buffer_size // dtype().itemsize, value, dtype).tobytes())
    frame.color_range = ColorRange.JPEG if kind == "full" else ColorRange.MPEG
    return [int(frame.reformat(format=to, interpolation=EXACT).to_ndarray()[32, 32, 1]) for to in ("rgb48le", "rgb24")]


for kind, formats in (("limited", 3), ("full", 3)):
    for name in ("yuv420p", "yuv420p10le", "yuv444p12le")[:formats]:
        print(name, kind, "{} rgb24 {}".format(*white(name, kind)))
print("gbrp10le RGB", "{} rgb24 {}".format(*white("gbrp10le", "RGB")))
PYTHON
diff "$folder/output" - <<'SEEN'
yuv420p limited 65283 rgb24 255
yuv420p10le limited 65283 rgb24 255
yuv444p12le limited 65283 rgb24 255
yuv420p full 65280 rgb24 255
yuv420p10le full 65472 rgb24 255
yuv444p12le full 65520 rgb24 255
gbrp10le RGB 65535 rgb24 255
SEEN
