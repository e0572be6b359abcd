"""The loop and its step boundary: what is due, what was commanded, and the components it is built from.

Never talks to the store or to process groups itself.
"""
