"""What nodes send to one another: typed envelopes on channels, filtered by room.

Nothing below knows which driver carries the channels, nor what a socket is; what arrives for this node's clients is
handed up as encoded packets.
"""
