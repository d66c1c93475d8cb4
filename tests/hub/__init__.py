"""Imports from Hugging Face, against a server that speaks its HTTP API."""
