"""The adaptive controller of loss weights, gradient clip and learning rate: a function of plain numbers.

Never imports a tensor library, reads a clock or draws random numbers.
"""
