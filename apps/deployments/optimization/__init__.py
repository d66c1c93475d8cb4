"""Optimize, prove, accept: a recipe makes an artifact, the proof compares it with the original, a person may decide."""
