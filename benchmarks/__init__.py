"""Speed and memory beside other ways of doing the same, as ratios within one run."""

import os

# Before torch is imported. Threads that wait without spinning leave the processor to others on a shared machine, and
# all cases suffer less from them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
