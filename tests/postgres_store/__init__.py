"""The example store over PostgreSQL, on a real server."""
