"""The wire between daemon, collector and client: generated code, one definition."""
