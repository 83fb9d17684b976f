"""Private and public images: fetched, split, decoded into stores."""
