"""DP-Mix: mixup for differentially private image classification.

Importing this package loads nothing heavy; each module imports what it needs.
"""

__version__ = "0.1.0"
