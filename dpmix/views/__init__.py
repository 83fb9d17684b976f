"""The K views of an example (Algorithm 1): settings, the random transformation T, and mixing."""
