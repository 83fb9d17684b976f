"""What is computed: specifications, each named by a hash of what determines it."""
