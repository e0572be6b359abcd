"""Communication between ranks: environment, process groups, the status store; and the random generators of a rank.

Never imports another package of this project, except for errors.
"""
