"""Weights of the default network that come with Leitstand, with the record of their training, and the word for them.

The files are made by `python -m bench.pictures.shipped_weights`. Never reads the weights itself, and knows no network.
"""
