"""The vault in several processes over one store; see `conftest` for how to run it on another."""
