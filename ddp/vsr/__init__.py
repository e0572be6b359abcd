"""The default workload, video super-resolution in one process: network, losses, image quality, patch sets.

Never knows of ranks or of other processes.
"""
