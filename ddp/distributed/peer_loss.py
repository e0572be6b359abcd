"""The error of a rank that has lost another one. Imports nothing: signals are handled before torch is there."""


class PeerLossError(RuntimeError):
    """Another rank's process has ended, seen without a collective."""
