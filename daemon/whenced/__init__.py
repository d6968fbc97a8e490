"""The daemon: what the kernel saw, named and hashed on its host, delivered to the collector."""
