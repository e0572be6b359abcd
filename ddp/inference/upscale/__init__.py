"""Enlarging a video, a picture or a folder of pictures: read, enlarged in tiles, written whole or not at all.

Never changes what it reads, and never keeps more than a few frames in memory.
"""
