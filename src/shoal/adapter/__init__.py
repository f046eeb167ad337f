"""The seam: what a namespace asks of the cluster, and the ways to answer it.

An adapter (Node's word) owns a namespace's rooms on this node, the fan-out of a packet to a selection of sockets, the
link to the other nodes, and what a client that comes back needs. Its methods have Node's names where Node has them. Who
calls it knows no broker; nothing here knows the server, a namespace or a handler's arguments.
"""
