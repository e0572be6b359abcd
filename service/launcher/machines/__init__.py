"""Ranks on several machines: who each is, where they meet, and how they notice that one is lost.

Never imports torch.
"""
