#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8), VideoFrame.side_data of a frame that carries EXIF: a JPEG of a camera, alone or within MJPEG.
#
# Behaviour: reading `frame.side_data` raises ValueError, since FFmpeg gives such a frame side data of a kind (31, EXIF) that
#   PyAV's enum has no name for; all other side data of the frame, its display matrix among it, cannot be read either. The
#   decoder has also put the orientation of the EXIF into such a display matrix, so just the frames that must be turned
#   are those that cannot be asked. The same pictures without EXIF give no error.
# The good guess that was wrong: `frame.side_data.get(Type.DISPLAYMATRIX)` gives the matrix, or None, whatever else the frame
#   carries, as a dictionary would. A program that expects no error takes a camera's video for damaged.
# What helps: a filter graph with `sidedata=mode=delete:type=31` before reading; the display matrix survives it.
#
# Output seen:
#   without EXIF: None
#   with EXIF: ValueError 31 is not a valid Type
#   filtered: x' = -y, y' = x in 65536ths: (0, 65536, -65536, 0)
# Exits 0 while that holds, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6 pillow==12.3.0

cd "$folder"
venv/bin/python - <<'PYTHON' | tee output
import io

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import Type
from PIL import ExifTags, Image


def first_frame(name, exif):
    content = io.BytesIO()
    Image.new("RGB", (64, 48), (90, 120, 30)).save(content, "jpeg", exif=exif)
    with av.open(name, "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        packet = av.Packet(content.getvalue())
        packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, 0, 0, True
        container.mux(packet)
    with av.open(name) as container:
        return next(container.decode(video=0))


def matrix(frame):
    try:
        found = frame.side_data.get(Type.DISPLAYMATRIX)
    except ValueError as error:
        return f"ValueError {error}"
    if found is None:
        return None
    values = np.frombuffer(bytes(found), np.int32)
    return tuple(int(values[place]) for place in (0, 1, 3, 4))


exif = Image.Exif()
print("without EXIF:", matrix(first_frame("plain.avi", Image.Exif())))
exif[ExifTags.Base.Orientation] = 6
frame = first_frame("turned.avi", exif)
print("with EXIF:", matrix(frame))
graph = Graph()
source = graph.add_buffer(width=64, height=48, format=frame.format, time_base=frame.time_base)
graph.link_nodes(source, graph.add("sidedata", "mode=delete:type=31"), graph.add("buffersink")).configure()
graph.vpush(frame)
print("filtered: x' = -y, y' = x in 65536ths:", matrix(graph.vpull()))
PYTHON
diff output - <<'SEEN'
without EXIF: None
with EXIF: ValueError 31 is not a valid Type
filtered: x' = -y, y' = x in 65536ths: (0, 65536, -65536, 0)
SEEN
