"""The promises that the design makes, each in a file of its own, shown from outside."""
