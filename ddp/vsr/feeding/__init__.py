"""What lies between patch sets and a network's batches: several sets mixed by weight, noise, the packed copy.

All of it is a function of seed and position; never knows ranks, and never changes what is validated on.
"""
