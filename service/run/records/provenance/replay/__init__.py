"""The interventions in a run (settings, rollbacks, validations, checkpoints) as a file, from which a run repeats them.

Never executes one.
"""
