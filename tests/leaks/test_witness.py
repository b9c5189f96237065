"""The witness finds a secret wherever one comes out: else the other tests would show nothing."""
