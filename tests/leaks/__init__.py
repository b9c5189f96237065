"""No secret shows, wherever one looks."""
