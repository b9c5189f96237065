"""What the vault costs, measured on the machine at hand."""
