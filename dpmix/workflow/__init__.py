"""What Snakemake's rules need to know of the call that runs them. Nothing here computes a result."""
