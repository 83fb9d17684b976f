"""Private and public images: downloaded or read, split into training and test images, and decoded into stores."""
