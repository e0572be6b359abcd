"""A trained network in use, without the trainer: videos and pictures enlarged, and files for other programs.

Never changes a run, and never knows ranks.
"""
