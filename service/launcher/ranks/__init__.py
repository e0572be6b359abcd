"""The ranks that a launcher starts: who each is, how they are started, and what they leave for those after them.

Never imports what a rank runs, but by a name that is given.
"""
