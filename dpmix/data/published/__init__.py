"""Published data sets, one module for each: how torchvision fetches it, and what lies where afterwards."""
