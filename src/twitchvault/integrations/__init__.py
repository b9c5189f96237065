"""Glue for the frameworks that users have: one module each, imported on use, an extra each."""
