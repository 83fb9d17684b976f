"""Speed and memory beside other ways of doing the same, as ratios within one run."""
