"""Every setting: its definition, loading from file, environment and command line, and changes during a run.

Never depends on the code that uses a setting.
"""
