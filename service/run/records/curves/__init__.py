"""A run's records as columns of numbers, the places of curves on a common axis, and pictures of them.

Never reads a file, and imports matplotlib only where a picture is drawn.
"""
