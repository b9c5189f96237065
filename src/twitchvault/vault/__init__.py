"""The vault: the only place where a token changes; docs/architecture.md describes its parts."""
