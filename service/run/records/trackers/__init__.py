"""Other experiment trackers by their own libraries: the interface, MLflow, Weights & Biases, trackio, Aim.

Never imports a tracker's library but where it is used, and none of them into a process that trains.
"""
