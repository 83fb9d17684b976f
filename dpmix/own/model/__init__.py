"""The folder that a model is handed out in: its files, its privacy record and card, and what it is exported as."""
