"""Code that the trainer and the API share: configuration, the record, the store, commands, the command line.

Never imports torch, flask, `ddp` or `api`.
"""

__version__ = "0.1.0"
