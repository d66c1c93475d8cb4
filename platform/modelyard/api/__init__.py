"""What every part of the DRF API shares: permissions by verb, problem bodies, pages, tokens."""
