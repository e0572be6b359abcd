"""Passes over pictures at a step boundary, with the present networks: a validation, the preview of a clip.

Never changes the result of the training.
"""
