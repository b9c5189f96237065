"""No secret shows anywhere: lives of flows and stores under the eyes of a witness."""
