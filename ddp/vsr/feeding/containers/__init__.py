"""What the PNG files of one side of a patch set lie in: folders, LMDB databases, or WebDataset's tar shards.

Never decodes pixels, and never decides which files make a pair.
"""
