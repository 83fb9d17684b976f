"""Estimates what tables and figures will cost: runs, images through models, GPU hours, disk."""
