"""Every setting: its table, its loading from file, environment and command line, and what may change during a run.

Never knows who reads a setting.
"""
