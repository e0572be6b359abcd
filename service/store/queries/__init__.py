"""One module per table: what is written to it and asked of it.

Never opens a connection itself.
"""
