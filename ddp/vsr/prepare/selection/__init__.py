"""Which frames are used for what: the sides of scenes, the windows cut out of them, near-duplicates among them.

Never decodes or writes: it decides on what a survey has found.
"""
