"""The ranks and the only way between them: environment, process groups, the status store, random generators per rank.

Never anything of ours but errors.
"""
