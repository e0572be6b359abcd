"""One optimizer step: batches, forward and backward, clip, AdamW, EMA, steps that are not finite.

Never commands and never records.
"""
