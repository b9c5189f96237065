"""A deterministic simulation of many processes, one store, one Twitch and the network between."""
