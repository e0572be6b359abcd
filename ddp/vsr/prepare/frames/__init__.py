"""From a decoded frame to a picture: interlaced lines, high dynamic range and colours as an SDR screen shows them.

Never opens a file, and never decides whether a frame is used.
"""
