"""The collector: what daemons deliver, kept in DuckDB and answered from."""
