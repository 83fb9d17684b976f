"""What tables and figures will cost."""
