"""Where the neighbours of a frame lie, and what they say of its detail, without a parameter to train.

Always in float32 at least and without gradients; never rounds to bfloat16, whatever the network around it does.
"""
