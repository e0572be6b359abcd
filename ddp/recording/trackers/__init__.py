"""Experiment trackers that show a run's curves elsewhere: the interface, TensorBoard, the choice.

Never stops or slows the training.
"""
