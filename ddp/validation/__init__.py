"""Validation spread over the ranks: each image counts once, and the record keys that follow.

Never changes the trajectory: random generators are put back.
"""
