"""From videos to a patch set: clips, decoding, scenes, split, windows, writing.

Never used by a training: a patch set is read by `ddp/vsr/patch_set.py`.
"""
