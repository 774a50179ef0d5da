"""Decode traces."""
