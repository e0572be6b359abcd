"""What is written: videos and pictures, made in a hidden folder beside their place and put there when they are whole.

Never runs a network.
"""
