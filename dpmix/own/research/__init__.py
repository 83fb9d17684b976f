"""For research: methods compared on the same images, and a configuration audited by canaries."""
