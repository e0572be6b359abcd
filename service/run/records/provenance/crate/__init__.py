"""A run as an RO-Crate with a Process Run Crate: its files, and an action per start and command.

Never copies or changes a file of the run; the crate's description refers to them.
"""
