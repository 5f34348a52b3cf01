"""Clients for a shop backend, blocking and asynchronous."""
