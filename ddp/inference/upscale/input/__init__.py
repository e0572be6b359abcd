"""What is enlarged: frames of a video or of pictures, and the windows of neighbours around each.

Never writes, and never keeps more frames than a window has.
"""
