"""Validation distributed over the ranks: every image is scored once, and the results become record keys.

Never changes the training: random generators are restored.
"""
