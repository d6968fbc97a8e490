"""Puts whence on a host as systemd services, and takes it off again; data is never touched."""
