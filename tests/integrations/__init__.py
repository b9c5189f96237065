"""The frameworks, each as it is installed, with the vault's tokens."""
