"""Commands about how a run came to be, for those who make it again or describe it to other programs.

Never changes a run.
"""
