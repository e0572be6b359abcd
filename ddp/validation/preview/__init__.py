"""A part of a person's clip, read in a process of its own and rendered with the networks of a training.

Never opens a file outside PREVIEW_ROOT, and never changes a network.
"""
