"""Experiment trackers: the interface, TensorBoard, the selection by settings.

Never stops or slows the training.
"""
