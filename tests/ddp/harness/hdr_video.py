"""HDR video whose light is known."""

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from ddp.vsr.prepare.frames.hdr import BT_709, BT_2020, PQ, matrix_between, pq_signal


def write_pq(path: Path, frames: list[NDArray[np.uint8]]) -> None:
    """SDR frames as PQ, of which 203 cd/m² are white, and a spot that is ten times as bright."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25, options={"color_trc": "smpte2084", "color_primaries": "bt2020"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "gbrp16le"
        for number, frame in enumerate(frames):
            light = 203 * (frame / 255) ** 2.4 @ matrix_between(BT_709, BT_2020).T
            light[:12, :12] = 2030
            signal = np.round(65535 * pq_signal(light)).astype(np.uint16)
            made = av.VideoFrame.from_ndarray(signal, format="rgb48le").reformat(format="gbrp16le")
            made.pts, made.color_trc, made.color_primaries = number, PQ, BT_2020
            container.mux(stream.encode(made))
        container.mux(stream.encode())
