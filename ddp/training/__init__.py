"""The training loop and its step boundary: scheduled work, commands, and the components that they are built from.

Never accesses the store or a process group directly.
"""
