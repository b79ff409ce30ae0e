"""What the Spark backend is made of."""
