"""The default workload, video super-resolution in one process: network, losses, image quality, patch sets.

Never uses ranks or other training processes.
"""
