"""The vault in one process: what is promised of refreshes, logins, upkeep and the views."""
