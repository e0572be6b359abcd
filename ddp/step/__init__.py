"""One optimizer step: batches, forward and backward pass, clipping, AdamW, EMA, steps that are not finite.

Never handles commands and never writes records.
"""
