"""From what a start of a run was made: settings, code, packages, machine, data, and who; records name it.

Never starts anything but git, and needs neither git nor a repository.
"""
