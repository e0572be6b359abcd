"""What a run does after something went wrong: a rollback, the state that a rank leaves, and why a run failed.

Never does anything in a step that goes well, but for noting where it stands.
"""
