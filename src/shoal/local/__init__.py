"""A whole cluster on one machine: broker, servers and balancer as real programs under one supervisor.

The package starts processes and watches them from outside. It refuses to know what runs inside a server: it never
imports one, and learns that a server is ready the way a balancer does, over HTTP.
"""
