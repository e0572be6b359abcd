"""Preparation of a patch set from videos: clips, decoding, scenes, split, windows, writing.

Never used during training, which reads a patch set with `ddp/vsr/patch_set.py`.
"""
