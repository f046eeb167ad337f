"""Runs an application under uvicorn: listening sockets, TLS, and the fast lane where the application has an engine."""
