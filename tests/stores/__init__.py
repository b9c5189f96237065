"""The stores, and `StoreContract`."""
