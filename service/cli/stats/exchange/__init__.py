"""Records out to other experiment trackers, and back in from TensorBoard's files.

Never imports a tracker's library but where it is used.
"""
