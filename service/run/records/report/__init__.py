"""A run as one self-contained HTML page: its curves as SVG made here, its pictures, its settings and its history.

Never reads a file or a store: what the page shows is given to it.
"""
