"""The adaptive controller of loss weights, gradient clip and learning rate: plain numbers in, plain numbers out.

Never imports a tensor library, reads a clock or draws random numbers.
"""
