"""A trained network measured on clips by the field's protocol: per frame, per clip, and over several sets.

Never trains, and never changes a clip.
"""
