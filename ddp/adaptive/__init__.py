"""The adaptive controller of loss weights, gradient clip and learning rate: plain numbers in, plain numbers out.

Never imports torch, reads a clock or draws random numbers.
"""
